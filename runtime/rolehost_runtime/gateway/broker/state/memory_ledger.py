"""The ledger's fake: the same rules in this process's memory."""

from rolehost_runtime.core.models.budget import Amount


class MemoryLedger:
    """Implements ports.TokenLedger. Those on one `board` are ledgers of one Redis."""

    def __init__(self, board: dict[tuple[str, str, int], Amount] | None = None) -> None:
        self.board = {} if board is None else board
        """What was handed out."""

    async def take(self, tenant_uid: str, backend: str, day: int, want: Amount, bound: Amount) -> Amount:
        key = (tenant_uid, backend, day)
        taken = self.board.get(key, Amount())
        granted = Amount(
            *(
                one if one <= 0 else max(0, min(one, most - had))
                for one, most, had in zip(want, bound, taken, strict=True)
            )
        )
        self.board[key] = taken.plus(granted)
        return granted
