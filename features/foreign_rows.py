"""What another program wrote in place of the online store's rows, and how the store gets rid of it: Feast's own writer stumbles over it."""

from __future__ import annotations

from itertools import islice
from typing import Any

from features.online_keys import LIFE, MATERIALIZED, any_row, mark_key

_LOOKED_AT = 1000

# KEYS: the two keys of the profiles, then rows; ARGV: the pattern of marks. All is looked at again here, as another worker may have cleared
# meanwhile and begun anew, and all goes at once: a row that is gone while its partition's mark is there would be a user without a past
_CLEAR = """
local marks, foreign = redis.call('KEYS', ARGV[1]), {}
local function look(key)
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'hash' and kind ~= 'none' then foreign[#foreign + 1] = key end
end
for i = 3, #KEYS do look(KEYS[i]) end
for _, key in ipairs(marks) do look(key) end
if #foreign == 0 then return 0 end
for _, key in ipairs(foreign) do redis.call('DEL', key) end
for _, key in ipairs(marks) do redis.call('DEL', key) end
redis.call('DEL', KEYS[1], KEYS[2])
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
    return int(client.eval(_CLEAR, 2 + len(foreign), MATERIALIZED, LIFE, *foreign, mark_key("*")))
