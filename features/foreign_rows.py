"""What another program wrote in place of the online store's rows, and how the store gets rid of it: Feast's own writer stumbles over it."""

from __future__ import annotations

from itertools import islice
from typing import Any

from features.online_keys import LIFE, MATERIALIZED, any_row, mark_key

_LOOKED_AT = 1000

# KEYS: the two keys of the profiles, then marks and rows; ARGV: how many marks. Looked at again here, as another worker may have cleared
# meanwhile and begun anew. All at once: a row that is gone while its partition's mark is there would be a user without a past
_CLEAR = """
local marks, foreign = tonumber(ARGV[1]), {}
for i = 3, #KEYS do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind ~= 'hash' and kind ~= 'none' then foreign[#foreign + 1] = KEYS[i] end
end
if #foreign == 0 then return 0 end
for _, key in ipairs(foreign) do redis.call('DEL', key) end
for i = 1, marks + 2 do redis.call('DEL', KEYS[i]) end
return #foreign
"""


def clear_foreign(client: Any) -> int:  # noqa: ANN401 - redis-py's types know text only
    """Delete what stands in place of rows and marks and is none, and with it every mark and the word that profiles are there.

    Which partitions those users are of, nobody knows any more; so each partition is folded again by the run that owns it, as with a
    store that lost data. Answers how much there was; where there is none, nothing is touched.

    Raises:
        redis.RedisError: Redis is away.

    """
    rows = client.scan_iter(match=any_row(), count=_LOOKED_AT)
    foreign: list[bytes] = []
    while some := list(islice(rows, _LOOKED_AT)):
        pipe = client.pipeline(transaction=False)
        for key in some:
            pipe.type(key)
        foreign += [key for key, kind in zip(some, pipe.execute(), strict=True) if kind != b"hash"]
    marks = list(client.scan_iter(match=mark_key("*"), count=_LOOKED_AT))
    return int(client.eval(_CLEAR, 2 + len(marks) + len(foreign), MATERIALIZED, LIFE, *marks, *foreign, len(marks)))
