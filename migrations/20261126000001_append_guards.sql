-- The append updates nothing: it locks a stream by its name and finds its version in the log. It tells a changed history by a code of its
-- own, also where it refuses the whole batch. A moment is found by halving.
-- Expand step: the previous release calls the function as before.
SET LOCAL lock_timeout = '5s';

-- A call that began with the old body excludes none that begins with the new one. This waits for those under way, and those that come
-- meanwhile end at their first update with a serialisation failure: the caller repeats them, with the new body.
CREATE FUNCTION refuse_version() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the append function was replaced meanwhile' USING ERRCODE = '40001';
END $$;
CREATE TRIGGER streams_version_rests BEFORE UPDATE OF version ON streams FOR EACH ROW EXECUTE FUNCTION refuse_version();

CREATE FUNCTION raise_history_changed(p_reached bigint) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the log ends before position %, which it is said to have reached', p_reached
        USING ERRCODE = 'WB001', HINT = 'History changed, by a restore or a failover: restart the process.';
END $$;

-- Appends a batch: the only way into the log. Locks, then judges, then writes, in the caller's transaction (READ COMMITTED).
--
-- A batch is many appends, numbered by the caller; each takes effect whole or not at all. Streams are given sorted bytewise, each at
-- most once in a batch. Events stand in the order in which they shall enter the log. p_hint is a position that the log is known to
-- have reached (0 if none): it spares looking at old partitions. A log that ends before it raises WB001.
--
-- Returns one row: the position before the first event written, the time recorded, and for each stream that was not at its expected
-- version (0: no such stream) its number in p_stream_ids, from 1, and its version; no append that names one of those wrote anything.
--
-- A version belongs to one event because appends to a stream wait for each other: each holds the lock on the stream's name from before
-- it looks at the last version until it has committed the next one. Nothing is updated: under an old snapshot (a dump, a report), dead
-- versions of a row that moves with every append would pile up and slow all of them.
CREATE OR REPLACE FUNCTION append_events(
    p_hint            bigint,
    p_stream_ids      text[], p_stream_appends  integer[], p_expected        bigint[], p_event_counts    bigint[],
    p_event_appends   integer[], p_event_streams text[],   p_event_versions  bigint[], p_event_ids       uuid[],
    p_event_types     text[], p_schema_versions smallint[], p_payloads       text[],   p_metadata        text[],
    p_command_appends integer[], p_command_streams text[], p_command_ids     uuid[],   p_command_versions bigint[],
    OUT last_position bigint, OUT recorded timestamptz, OUT stale_streams integer[], OUT stale_versions bigint[]
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
-- Plans are made once, maybe while the tables are empty, and must be good when they are full: a version is found at the end of the index
-- by stream, never by sorting what another index or a scan gives.
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
DECLARE
    -- Versions are looked for in so many of the last positions first: one or two partitions.
    c_recent   CONSTANT bigint := 5000000;
    -- Parsed before anybody has to wait for it.
    v_payloads CONSTANT json[] := p_payloads;
    v_metadata CONSTANT json[] := p_metadata;
    v_streams  CONSTANT integer := cardinality(p_stream_ids);
    v_after    bigint := p_hint - c_recent;
    v_current  integer := 0;
    v_versions bigint[];
    v_refused  integer[] := '{}';
    v_last_at  timestamptz;
BEGIN
    stale_streams := '{}';
    stale_versions := '{}';

    IF p_hint = 0 THEN
        SELECT coalesce(max(position), 0) - c_recent INTO v_after FROM events;
    END IF;

    -- Everybody locks in the same order, so nobody waits in a circle.
    PERFORM pg_advisory_xact_lock(l.key)
    FROM (SELECT hashtextextended(s.stream_id, 0) AS key FROM unnest(p_stream_ids) AS s (stream_id) ORDER BY 1) AS l;

    -- A stream gets a row that says after which position to look for it. Whose row is new has no event.
    IF 0 = ANY (p_expected) THEN
        INSERT INTO streams (stream_id, since_position)
        SELECT s.stream_id, p_hint FROM unnest(p_stream_ids, p_expected) AS s (stream_id, expected)
        WHERE s.expected = 0
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS v_current = ROW_COUNT;
    END IF;

    -- From here on, each statement sees what was committed before we had the locks.
    IF v_current < v_streams THEN
        v_current := v_current + (
            SELECT count(*) FROM unnest(p_stream_ids, p_expected) AS s (stream_id, expected)
            WHERE s.expected > 0 AND s.expected = (
                SELECT e.stream_version FROM events AS e
                WHERE e.stream_id = s.stream_id AND e.position > v_after ORDER BY e.stream_version DESC LIMIT 1
            )
        );
    END IF;

    -- Not all of them: some are stale, or rest since long ago, or were named by an append that was refused.
    IF v_current <> v_streams THEN
        SELECT array_agg(coalesce(s.version, 0) ORDER BY s.number) INTO v_versions
        FROM (SELECT n.number, (SELECT max(e.stream_version) FROM events AS e
                                WHERE e.stream_id = t.stream_id AND e.position > t.since_position) AS version
              FROM unnest(p_stream_ids) WITH ORDINALITY AS n (stream_id, number)
              LEFT JOIN streams AS t ON t.stream_id = n.stream_id) AS s;
        IF v_versions <> p_expected THEN
            SELECT array_agg(s.number::integer), array_agg(s.version), array_agg(DISTINCT s.append)
            INTO stale_streams, stale_versions, v_refused
            FROM unnest(p_stream_appends, p_expected, v_versions) WITH ORDINALITY AS s (append, expected, version, number)
            WHERE s.version <> s.expected;
        END IF;
        IF p_stream_appends <@ v_refused THEN
            -- Nothing to write; but a stream must not be left with a position that the log has not reached.
            IF p_hint > 0 AND NOT EXISTS (SELECT FROM events WHERE position >= p_hint) THEN
                PERFORM raise_history_changed(p_hint);
            END IF;
            RETURN;
        END IF;
    END IF;

    INSERT INTO commands (stream_id, command_id, stream_version)
    SELECT c.stream_id, c.command_id, c.version
    FROM unnest(p_command_appends, p_command_streams, p_command_ids, p_command_versions) AS c (append, stream_id, command_id, version)
    WHERE c.append <> ALL (v_refused)
    -- The keys of a category are locked by their rows alone: everybody in the same order.
    ORDER BY c.stream_id COLLATE "C", c.command_id;

    -- Last, and held to the commit: positions are dense and in the order of commits.
    PERFORM FROM log_head FOR UPDATE;
    -- A statement of its own, so a snapshot taken after the lock: it sees what the last holder committed.
    SELECT e.position, e.recorded_at INTO last_position, v_last_at
    FROM events AS e WHERE e.position >= p_hint ORDER BY e.position DESC LIMIT 1;
    IF NOT FOUND THEN
        IF p_hint > 0 THEN
            PERFORM raise_history_changed(p_hint);
        END IF;
        last_position := 0;
    END IF;
    recorded := greatest(clock_timestamp(), v_last_at);

    IF v_refused = '{}' THEN
        INSERT INTO events (position, stream_id, stream_version, event_id, event_type, schema_version, payload, metadata, recorded_at)
        SELECT last_position + e.number, e.stream_id, e.version, e.event_id, e.event_type, e.schema_version, e.payload, e.metadata, recorded
        FROM unnest(p_event_streams, p_event_versions, p_event_ids, p_event_types, p_schema_versions, v_payloads, v_metadata)
            WITH ORDINALITY AS e (stream_id, version, event_id, event_type, schema_version, payload, metadata, number);
    ELSE
        INSERT INTO events (position, stream_id, stream_version, event_id, event_type, schema_version, payload, metadata, recorded_at)
        SELECT last_position + row_number() OVER (ORDER BY e.number), e.stream_id, e.version, e.event_id, e.event_type, e.schema_version,
               e.payload, e.metadata, recorded
        FROM unnest(p_event_appends, p_event_streams, p_event_versions, p_event_ids, p_event_types, p_schema_versions, v_payloads, v_metadata)
            WITH ORDINALITY AS e (append, stream_id, version, event_id, event_type, schema_version, payload, metadata, number)
        WHERE e.append <> ALL (v_refused);
    END IF;
END $$;

COMMENT ON COLUMN streams.version IS 'Not moved any more: the last version stands in the log. To be dropped by a later release.';

-- The last position recorded at or before a moment; 0 if there is none. The answer for a moment that is past never changes: whoever is
-- appending is waited for, and whoever comes later is recorded later.
CREATE FUNCTION position_as_of(p_time timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_before bigint := 0; -- recorded at or before the moment
    v_after  bigint;      -- recorded later, or beyond the head
    v_middle bigint;
BEGIN
    -- Behind an event that was recorded later, nothing earlier can follow.
    IF p_time >= coalesce((SELECT recorded_at FROM events ORDER BY position DESC LIMIT 1), '-infinity') THEN
        PERFORM FROM log_head FOR UPDATE;
    END IF;
    SELECT coalesce(max(position), 0) + 1 INTO v_after FROM events;
    -- recorded_at never runs backwards in position.
    WHILE v_after - v_before > 1 LOOP
        v_middle := (v_before + v_after) / 2;
        IF (SELECT recorded_at FROM events WHERE position = v_middle) <= p_time THEN
            v_before := v_middle;
        ELSE
            v_after := v_middle;
        END IF;
    END LOOP;
    RETURN v_before;
END $$;

REVOKE ALL ON FUNCTION raise_history_changed, refuse_version, position_as_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION position_as_of TO waybill_service;
