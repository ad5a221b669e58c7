"""A guard that asks a model: one call for each text, bounded by its Role's words and by the tenant's budget."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from rolehost_api.crd.safety import GuardAction, GuardModel
from rolehost_api.errors import Unavailable
from rolehost_api.wire import Usage
from rolehost_runtime.core.safety.asking import MAX_ANSWER_TOKENS, question, verdict
from rolehost_runtime.core.safety.guards import Objection, Stage
from rolehost_runtime.gateway.ports import ModelEnd, ModelMessage, ModelProvider, ModelRequest
from rolehost_runtime.gateway.sessions.usage import estimated
from rolehost_runtime.gateway.tables import Tables, Tenant

MAX_ANSWER_CHARS = 256
_VENDOR_ROLE = {"system": "system", "user": "user", "persona": "assistant"}


@dataclass(frozen=True, slots=True)
class ModelGuard:
    """Implements core.safety.guards.Guard."""

    name: str
    model: GuardModel
    tenant: Tenant
    tables: Tables
    models: ModelProvider
    spent: Callable[[Usage], None]
    """Told what each question took."""

    async def judge(self, stage: Stage, text: str) -> Sequence[Objection]:
        """Raises what the model fails with, Unavailable for what cannot be asked, and NoVerdict."""
        model = self.model
        if len(text) > model.max_characters:
            raise Unavailable("the text is longer than this guard may show", code="text_too_long")
        backend = self.tables.backends.get(model.backend)
        if backend is None:
            raise Unavailable("this guard's ModelBackend does not exist", code="backend_not_found")
        served = backend.served(model.name)
        if served is None and backend.models:
            raise Unavailable("this guard's ModelBackend does not serve that model", code="model_not_served")
        categories = [one.value for one in model.categories]
        prompt = question(model.question, categories, text)
        request = ModelRequest(
            model=served.model if served is not None else model.name,
            messages=[ModelMessage(_VENDOR_ROLE[one.speaker], one.text) for one in prompt],  # type: ignore[arg-type]
            params={},
            max_tokens=MAX_ANSWER_TOKENS,
            tenant_uid=self.tenant.uid,
            backend=model.backend,
            tenant=self.tenant.name,
            stable_chars=len(prompt[0].text),
        )
        said: list[str] = []
        usage: Usage | None = None
        try:
            async with aclosing(self.models.stream(backend, request)) as stream:  # type: ignore[type-var]
                async for item in stream:
                    if isinstance(item, ModelEnd):
                        usage = item.usage
                        break
                    said.append(item)
                    if sum(map(len, said)) > MAX_ANSWER_CHARS:
                        break
        finally:
            self.spent(usage or estimated((one.text for one in prompt), said))
        found = verdict("".join(said), categories)
        if not found:
            return ()
        return (Objection(found, "flag" if model.action is GuardAction.FLAG else "block"),)
