//! The two scripts by which anything is written into Redis: each moves a checkpoint, and nothing when that is not where it should be.

use redis::{Cmd, cmd};

use crate::redis_store::{Redis, RedisFailure};

/// Writes a shard: documents, removals and members, and the shard's checkpoint with them.
const WRITE_SHARD: &str = r"
local at = redis.call('GET', KEYS[1])
if at ~= ARGV[1] then return at or '' end
local next = 4
for _ = 1, tonumber(ARGV[3]) do
    redis.call('HSET', KEYS[2], ARGV[next], ARGV[next + 1])
    next = next + 2
end
local removed = tonumber(ARGV[next])
for i = 1, removed do redis.call('HDEL', KEYS[2], ARGV[next + i]) end
for i = next + removed + 1, #ARGV do redis.call('ZADD', KEYS[3], 0, ARGV[i]) end
redis.call('SET', KEYS[1], ARGV[2])
return 'written'
";

/// Moves the checkpoint of a whole generation, when all its shards are written.
const MOVE_HEAD: &str = r"
local at = redis.call('GET', KEYS[1])
if at ~= ARGV[1] then return at or '' end
redis.call('SET', KEYS[1], ARGV[2])
return 'written'
";

/// What a script answers when it has written; anything else is the checkpoint that it found.
pub(crate) const WRITTEN: &str = "written";

/// The scripts as this server knows them.
#[derive(Debug, Clone)]
pub(crate) struct Scripts {
    write_shard: String,
    move_head: String,
}

impl Scripts {
    pub(crate) async fn load(redis: &Redis) -> Result<Self, RedisFailure> {
        let mut load = redis::pipe();
        for script in [WRITE_SHARD, MOVE_HEAD] {
            load.cmd("SCRIPT").arg("LOAD").arg(script);
        }
        let (write_shard, move_head) = redis.run(&load).await?;
        Ok(Self { write_shard, move_head })
    }

    pub(crate) fn write_shard(&self) -> Cmd {
        self.call(&self.write_shard)
    }

    pub(crate) fn move_head(&self) -> Cmd {
        self.call(&self.move_head)
    }

    fn call(&self, script: &str) -> Cmd {
        let mut call = cmd("EVALSHA");
        call.arg(script);
        call
    }
}
