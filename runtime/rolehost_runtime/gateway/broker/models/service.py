"""All of models put together: servers over HTTP and the script behind one dispatcher, with budgets and counters."""

from collections.abc import Callable

from rolehost_api.crd.modelbackend import BackendType
from rolehost_runtime.gateway.broker.models.dispatcher import Desks, Dispatcher
from rolehost_runtime.gateway.broker.models.embedder import BatchingEmbedder
from rolehost_runtime.gateway.broker.models.embeddings import EmbeddingsProvider
from rolehost_runtime.gateway.broker.models.metrics import ModelSink, NoModelSink
from rolehost_runtime.gateway.broker.models.plugins import PluginProvider
from rolehost_runtime.gateway.broker.models.provider import WIRES, HttpProvider
from rolehost_runtime.gateway.broker.models.purse import Purses
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.ports import ModelProvider, TokenLedger
from rolehost_runtime.gateway.tables import Tables


class ModelService:
    """`provider` is what sessions ask, `embedder` what memory asks. `close` gives leases back and closes connections; the ledger is the caller's."""

    def __init__(
        self,
        http: HttpProvider,
        tables: Tables,
        now_ms: Callable[[], int],
        ledger: TokenLedger,
        sink: ModelSink | None = None,
        *,
        script_pause_seconds: float = 0.0,
        plugins: PluginProvider | None = None,
    ) -> None:
        sink = sink or NoModelSink()
        self._http = http
        desks, self._purses = Desks(tables, sink), Purses(ledger, now_ms)
        served: dict[BackendType, ModelProvider] = {BackendType.SCRIPTED: ScriptedProvider(script_pause_seconds)}
        served |= dict.fromkeys(WIRES, http)
        self._plugins = plugins or PluginProvider({})
        served[BackendType.PLUGIN] = self._plugins
        self.provider = Dispatcher(Models(served), tables, desks, self._purses, sink)
        embeddings = Models({BackendType.EMBEDDINGS: EmbeddingsProvider(http)})
        self.embedder = BatchingEmbedder(Dispatcher(embeddings, tables, desks, self._purses, sink), tables, sink)

    async def close(self) -> None:
        await self.embedder.close()
        await self._purses.close()
        await self._plugins.close()
        await self._http.close()
