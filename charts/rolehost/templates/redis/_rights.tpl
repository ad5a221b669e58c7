{{/* What a gateway may do in Redis: the line of docs/operating.md for a Redis that others use too, word for word.
`reset` first: who is told its rights again keeps none of the old ones. */}}
{{- define "rolehost.redisRights" -}}
reset on >$(REDISCLI_AUTH) ~rh:* resetchannels -@all +eval +evalsha +script|load +hget +hgetall +hmget +hset +hdel +hkeys +hlen +hincrby +expire +ttl +xadd +xrange +xrevrange +xtrim +xlen +exists +type +unlink +get +set +zadd +zrem +zcard +zscore +zrangebyscore +zrevrangebyscore +zrandmember +ping +info +time +wait +role +select +client|setname +config|get +cluster|slots +asking
{{- end }}
