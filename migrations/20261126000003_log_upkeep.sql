-- What the maintainer needs besides: how much room there is, and which commands need not be known again. Expand step.
SET LOCAL lock_timeout = '5s';

-- Positions that can still be appended before a partition is missing, and what the database takes on disk.
CREATE FUNCTION log_room(OUT positions bigint, OUT bytes bigint) LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    -- A partition's name says which five million it holds; old ones may have been taken away.
    SELECT (max(substring(c.relname FROM '[0-9]+$')::bigint) + 1) * 5000000 - 1 - (SELECT coalesce(max(e.position), 0) FROM events AS e),
           pg_database_size(current_database())
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = 'events'::regclass
$$;

-- Up to which position the commands of the log's events are forgotten.
CREATE TABLE commands_forgotten (
    up_to bigint NOT NULL
);
INSERT INTO commands_forgotten (up_to) VALUES (0);

-- Forgets the commands of events recorded so many days ago or earlier (one day at least), of at most so many positions; returns how many
-- positions were passed. The events themselves tell which: their metadata name the command. So the append pays nothing for it.
CREATE FUNCTION forget_commands(p_days integer, p_limit integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_from bigint;
    v_to   bigint;
BEGIN
    SELECT f.up_to INTO v_from FROM commands_forgotten AS f FOR UPDATE;
    -- recorded_at never runs backwards in position: the last one of the stretch decides for all before it.
    SELECT coalesce(max(e.position), 0) INTO v_to FROM events AS e WHERE e.position > v_from AND e.position <= v_from + p_limit;
    IF NOT EXISTS (SELECT FROM events AS e WHERE e.position = v_to
                   AND e.recorded_at < clock_timestamp() - make_interval(days => greatest(p_days, 1))) THEN
        RETURN 0;
    END IF;
    DELETE FROM commands AS c USING events AS e
    WHERE e.position > v_from AND e.position <= v_to
      -- Under the stream, and where the body names the stream, under its category.
      AND c.stream_id = ANY (ARRAY[e.stream_id, split_part(e.stream_id, '-', 1)])
      AND c.command_id = (e.metadata->>'causation_id')::uuid;
    UPDATE commands_forgotten SET up_to = v_to;
    RETURN v_to - v_from;
END $$;

REVOKE ALL ON FUNCTION log_room, forget_commands FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_room, forget_commands TO waybill_service;
