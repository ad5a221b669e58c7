"""What was handed out of tenants' budgets, in Redis: one small hash for each tenant, backend and day, which ends by itself."""

from dataclasses import replace

from rolehost_runtime.core.models.budget import Amount
from rolehost_runtime.gateway.broker.state.resp.address import parse
from rolehost_runtime.gateway.broker.state.resp.client import Client
from rolehost_runtime.gateway.broker.state.resp.greeting import Script

OPERATION_SECONDS = 1.0
KEEP_SECONDS = 2 * 86_400

TAKE = """
local function part(field, want, bound)
  want, bound = tonumber(want), tonumber(bound)
  if want > 0 then
    local taken = tonumber(redis.call('HGET', KEYS[1], field) or '0')
    want = math.max(0, math.min(want, bound - taken))
  end
  if want ~= 0 then redis.call('HINCRBY', KEYS[1], field, string.format('%d', want)) end
  return want
end
local granted = {part('tokens', ARGV[1], ARGV[3]), part('micros', ARGV[2], ARGV[4])}
if granted[1] ~= 0 or granted[2] ~= 0 then redis.call('EXPIRE', KEYS[1], ARGV[5]) end
return granted
"""
"""KEYS counter. ARGV tokens wanted, micros wanted, their bounds, seconds. What was handed out of both."""
TAKE_SCRIPT = Script(TAKE)


class RedisLedger:
    """Implements ports.TokenLedger."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis

    @classmethod
    def connect(cls, url: str, password: str | None = None) -> "RedisLedger":
        """On a URL as RedisSessionStore's. No replica is waited for: what a failover forgets is handed out twice, and
        that is at most the leases of the last moment."""
        target = replace(parse(url), replicas=0)
        return cls(
            Client(
                target,
                password=password or "",
                name="rolehost-ledger",
                scripts=(TAKE_SCRIPT,),
                seconds=OPERATION_SECONDS,
            )
        )

    async def close(self) -> None:
        await self._redis.close()

    async def take(self, tenant_uid: str, backend: str, day: int, want: Amount, bound: Amount) -> Amount:
        key = _key(tenant_uid, backend, day)
        granted = await self._redis.call(TAKE_SCRIPT, (key,), (*want, *bound, KEEP_SECONDS), line=key.encode())
        return Amount(*map(int, granted))


def _key(tenant_uid: str, backend: str, day: int) -> str:
    """
    >>> _key("uid-1", "vllm", 20000)
    'rh:{budget:uid-1}:vllm:20000'
    """
    return f"rh:{{budget:{tenant_uid}}}:{backend}:{day}"
