-- The append of a process that remembers what it wrote: it says which streams' versions it knows, and as of which event; that nothing was
-- appended to them since is seen at the end of the log, where looking for each version in an index would take a fifth of the time.
-- Expand step: the previous release calls append_events, as before.
SET LOCAL lock_timeout = '5s';

-- Refuses a log that ends before a position that it is said to have reached, or that holds another event where one is known (0: neither is).
CREATE FUNCTION refuse_changed_history(p_reached bigint, p_known bigint, p_known_event uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF p_reached > 0 AND NOT EXISTS (SELECT FROM events AS e WHERE e.position >= p_reached) THEN
        PERFORM raise_history_changed(p_reached);
    END IF;
    IF p_known > 0 AND NOT EXISTS (SELECT FROM events AS e WHERE e.position = p_known AND e.event_id = p_known_event) THEN
        RAISE EXCEPTION 'position % of the log does not hold event %, as it did', p_known, p_known_event
            USING ERRCODE = 'WB001', HINT = 'History changed, by a restore or a failover: restart the process.';
    END IF;
END $$;

CREATE FUNCTION raise_look_again(p_known bigint) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'a stream that was vouched for may have got an event after position %', p_known USING ERRCODE = 'WB003';
END $$;

-- Appends a batch. Locks, then judges, then writes, in the caller's transaction (READ COMMITTED).
--
-- A batch is many appends, numbered by the caller; each takes effect whole or not at all. Streams are given sorted bytewise, each at
-- most once in a batch; commands sorted bytewise by stream, then by id. Events stand in the order in which they shall enter the log.
-- p_hint is a position that the log is known to have reached (0 if none): it spares looking at old partitions.
--
-- p_known and p_known_event are a position of the log and the event there, as the caller knows them (0 and NULL: it knows none). p_look
-- says of each stream whether its version is to be looked for. Of one that is neither to be looked for nor new, the caller vouches that
-- p_expected was its version when the log ended at p_known: because it wrote the stream's last event itself, and everything between that
-- one and p_known. Where p_known is 0 nothing can be vouched for: all are looked for, whatever p_look says.
--
-- Returns one row: the position before the first event written and the event there (0 and NULL in an empty log; NULL and NULL if nothing
-- was written), the time recorded, and for each stream that was not at its expected version (0: no such stream) its number in
-- p_stream_ids, from 1, and its version; no append that names one of those wrote anything.
--
-- WB001: the log ends before p_hint, or holds another event at p_known. WB003: something may have been appended to a stream that the
-- caller vouches for; call again and have it looked for. A unique violation of commands may also mean that: the rows of commands are
-- written before it is seen whether a version that was vouched for is still right.
--
-- A version belongs to one event because appends to a stream wait for each other: each holds the lock on the stream's name from before
-- it looks at the last version until it has committed the next one. Nothing is updated: under an old snapshot (a dump, a report), dead
-- versions of a row that moves with every append would pile up and slow all of them.
--
-- Plans are made once, maybe while the tables are empty, and must be good when they are full: a version is found at the end of the index
-- by stream, never by sorting what another index or a scan gives. The caller's session says so once (plan_cache_mode =
-- force_generic_plan, and off: jit, enable_seqscan, enable_bitmapscan, enable_sort); said by the function, it would cost each call.
CREATE FUNCTION append_batch(
    p_hint            bigint,    p_known           bigint,    p_known_event    uuid,
    p_stream_ids      text[],    p_stream_appends  integer[], p_expected       bigint[], p_look             boolean[],
    p_event_appends   integer[], p_event_streams   text[],    p_event_versions bigint[], p_event_ids        uuid[],
    p_event_types     text[],    p_schema_versions smallint[], p_payloads      json[],   p_metadata         json[],
    p_command_appends integer[], p_command_streams text[],    p_command_ids    uuid[],   p_command_versions bigint[],
    OUT last_position bigint, OUT last_event uuid, OUT recorded timestamptz, OUT stale_streams integer[], OUT stale_versions bigint[]
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    -- Versions are looked for in so many of the last positions first: one or two partitions.
    c_recent   CONSTANT bigint := 5000000;
    v_streams  CONSTANT integer := cardinality(p_stream_ids);
    v_after    bigint := p_hint - c_recent;
    v_vouched  integer := 0; -- streams that the caller vouches for
    v_new      integer;
    v_current  integer;      -- streams that are at their expected version
    v_versions bigint[];     -- of all of them, once they were looked for
    v_refused  integer[] := '{}';
    v_last_at  timestamptz;
BEGIN
    stale_streams := '{}';
    stale_versions := '{}';

    -- Everybody locks in the same order, so nobody waits in a circle.
    PERFORM pg_advisory_xact_lock(l.key)
    FROM (SELECT hashtextextended(s.stream_id, 0) AS key FROM unnest(p_stream_ids) AS s (stream_id) ORDER BY 1) AS l;

    IF p_known > 0 THEN
        SELECT count(*) INTO v_vouched FROM unnest(p_expected, p_look) AS s (expected, look) WHERE s.expected > 0 AND NOT s.look;
    END IF;
    v_current := v_vouched;
    -- A stream gets a row that says after which position to look for it. Whose row is new has no event.
    IF 0 = ANY (p_expected) THEN
        INSERT INTO streams (stream_id, since_position)
        SELECT s.stream_id, p_hint FROM unnest(p_stream_ids, p_expected) AS s (stream_id, expected)
        WHERE s.expected = 0
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS v_new = ROW_COUNT;
        v_current := v_current + v_new;
    END IF;

    -- From here on, each statement sees what was committed before we had the locks.
    IF v_current < v_streams THEN
        IF p_hint = 0 THEN
            SELECT coalesce(max(position), 0) - c_recent INTO v_after FROM events;
        END IF;
        v_current := v_current + (
            SELECT count(*) FROM unnest(p_stream_ids, p_expected, p_look) AS s (stream_id, expected, look)
            WHERE s.expected > 0 AND (s.look OR p_known = 0) AND s.expected = (
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
            PERFORM refuse_changed_history(p_hint, p_known, p_known_event);
            RETURN;
        END IF;
    END IF;

    -- The keys of a category are locked by their rows alone: everybody in the same order.
    IF v_refused = '{}' THEN
        INSERT INTO commands (stream_id, command_id, stream_version)
        SELECT unnest(p_command_streams), unnest(p_command_ids), unnest(p_command_versions);
    ELSE
        INSERT INTO commands (stream_id, command_id, stream_version)
        SELECT c.stream_id, c.command_id, c.version
        FROM unnest(p_command_appends, p_command_streams, p_command_ids, p_command_versions) AS c (append, stream_id, command_id, version)
        WHERE c.append <> ALL (v_refused);
    END IF;

    -- Last, and held to the commit: positions are dense and in the order of commits.
    PERFORM FROM log_head FOR UPDATE;
    -- A statement of its own, so a snapshot taken after the lock: it sees what the last holder committed.
    SELECT e.position, e.event_id, e.recorded_at INTO last_position, last_event, v_last_at
    FROM events AS e WHERE e.position >= p_hint ORDER BY e.position DESC LIMIT 1;
    IF NOT FOUND THEN
        IF p_hint > 0 THEN
            PERFORM raise_history_changed(p_hint);
        END IF;
        last_position := 0;
    END IF;
    recorded := greatest(clock_timestamp(), v_last_at);

    -- First of all that it is the caller's log; then nobody's word is needed for what was looked for.
    IF p_known > 0 AND (last_position, last_event) IS DISTINCT FROM (p_known, p_known_event) THEN
        PERFORM refuse_changed_history(0, p_known, p_known_event);
        IF v_vouched > 0 AND v_versions IS NULL THEN
            -- Compared in the order of the log, which is short; its index by stream is what shall not be needed. The limit is written out
            -- for the planner.
            IF last_position > p_known + 2000 OR EXISTS (
                SELECT FROM (SELECT stream_id FROM events WHERE position > p_known ORDER BY position LIMIT 2000) AS e
                JOIN unnest(p_stream_ids, p_expected, p_look) AS s (stream_id, expected, look) ON s.stream_id = e.stream_id
                WHERE s.expected > 0 AND NOT s.look
            ) THEN
                PERFORM raise_look_again(p_known);
            END IF;
        END IF;
    END IF;

    IF v_refused = '{}' THEN
        INSERT INTO events (position, stream_id, stream_version, event_id, event_type, schema_version, payload, metadata, recorded_at)
        SELECT generate_series(last_position + 1, last_position + cardinality(p_event_ids)), unnest(p_event_streams),
               unnest(p_event_versions), unnest(p_event_ids), unnest(p_event_types), unnest(p_schema_versions), unnest(p_payloads),
               unnest(p_metadata), recorded;
    ELSE
        INSERT INTO events (position, stream_id, stream_version, event_id, event_type, schema_version, payload, metadata, recorded_at)
        SELECT last_position + row_number() OVER (ORDER BY e.number), e.stream_id, e.version, e.event_id, e.event_type, e.schema_version,
               e.payload, e.metadata, recorded
        FROM unnest(p_event_appends, p_event_streams, p_event_versions, p_event_ids, p_event_types, p_schema_versions, p_payloads, p_metadata)
            WITH ORDINALITY AS e (append, stream_id, version, event_id, event_type, schema_version, payload, metadata, number)
        WHERE e.append <> ALL (v_refused);
    END IF;
END $$;

-- One event of one stream, new or vouched for, with its command (NULL: none): what append_batch does, for who is alone and waits for it.
-- Returns the same row and raises the same.
CREATE FUNCTION append_one(
    p_hint bigint, p_known bigint, p_known_event uuid, p_stream_id text, p_expected bigint,
    p_event_id uuid, p_event_type text, p_schema_version smallint, p_payload json, p_metadata json, p_command_id uuid,
    OUT last_position bigint, OUT last_event uuid, OUT recorded timestamptz, OUT stale_streams integer[], OUT stale_versions bigint[]
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_version bigint;
    v_last_at timestamptz;
BEGIN
    stale_streams := '{}';
    stale_versions := '{}';
    PERFORM pg_advisory_xact_lock(hashtextextended(p_stream_id, 0));
    IF p_expected = 0 THEN
        INSERT INTO streams (stream_id, since_position) VALUES (p_stream_id, p_hint) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            SELECT max(e.stream_version) INTO v_version FROM streams AS t
            JOIN events AS e ON e.stream_id = t.stream_id AND e.position > t.since_position WHERE t.stream_id = p_stream_id;
            IF v_version IS NOT NULL THEN
                PERFORM refuse_changed_history(p_hint, p_known, p_known_event);
                stale_streams := '{1}';
                stale_versions := ARRAY[v_version];
                RETURN;
            END IF;
        END IF;
    END IF;
    IF p_command_id IS NOT NULL THEN
        INSERT INTO commands (stream_id, command_id, stream_version) VALUES (p_stream_id, p_command_id, p_expected + 1);
    END IF;

    PERFORM FROM log_head FOR UPDATE;
    SELECT e.position, e.event_id, e.recorded_at INTO last_position, last_event, v_last_at
    FROM events AS e WHERE e.position >= p_hint ORDER BY e.position DESC LIMIT 1;
    IF NOT FOUND THEN
        IF p_hint > 0 THEN
            PERFORM raise_history_changed(p_hint);
        END IF;
        last_position := 0;
    END IF;
    recorded := greatest(clock_timestamp(), v_last_at);
    IF p_known > 0 AND (last_position, last_event) IS DISTINCT FROM (p_known, p_known_event) THEN
        PERFORM refuse_changed_history(0, p_known, p_known_event);
    END IF;
    IF p_expected > 0 AND (p_known = 0 OR last_position > p_known) THEN
        IF p_known = 0 OR last_position > p_known + 2000 OR EXISTS (
            SELECT FROM (SELECT stream_id FROM events WHERE position > p_known ORDER BY position LIMIT 2000) AS e
            WHERE e.stream_id = p_stream_id
        ) THEN
            PERFORM raise_look_again(p_known);
        END IF;
    END IF;

    INSERT INTO events (position, stream_id, stream_version, event_id, event_type, schema_version, payload, metadata, recorded_at)
    VALUES (last_position + 1, p_stream_id, p_expected + 1, p_event_id, p_event_type, p_schema_version, p_payload, p_metadata, recorded);
END $$;

-- append_batch for who remembers nothing: every version is looked for, and commands come in any order. p_event_counts is not read any
-- more; it stays so that the previous release finds the function.
CREATE OR REPLACE FUNCTION append_events(
    p_hint            bigint,
    p_stream_ids      text[], p_stream_appends  integer[], p_expected        bigint[], p_event_counts    bigint[],
    p_event_appends   integer[], p_event_streams text[],   p_event_versions  bigint[], p_event_ids       uuid[],
    p_event_types     text[], p_schema_versions smallint[], p_payloads       text[],   p_metadata        text[],
    p_command_appends integer[], p_command_streams text[], p_command_ids     uuid[],   p_command_versions bigint[],
    OUT last_position bigint, OUT recorded timestamptz, OUT stale_streams integer[], OUT stale_versions bigint[]
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
BEGIN
    SELECT array_agg(c.append), array_agg(c.stream_id), array_agg(c.id), array_agg(c.version)
    INTO p_command_appends, p_command_streams, p_command_ids, p_command_versions
    FROM (SELECT * FROM unnest(p_command_appends, p_command_streams, p_command_ids, p_command_versions) AS c (append, stream_id, id, version)
          ORDER BY stream_id COLLATE "C", id) AS c;
    SELECT b.last_position, b.recorded, b.stale_streams, b.stale_versions INTO last_position, recorded, stale_streams, stale_versions
    FROM append_batch(
        p_hint, 0, NULL, p_stream_ids, p_stream_appends, p_expected, NULL, p_event_appends, p_event_streams, p_event_versions,
        p_event_ids, p_event_types, p_schema_versions, p_payloads::json[], p_metadata::json[], p_command_appends, p_command_streams,
        p_command_ids, p_command_versions
    ) AS b;
END $$;

REVOKE ALL ON FUNCTION refuse_changed_history, raise_look_again, append_batch, append_one FROM PUBLIC;
GRANT EXECUTE ON FUNCTION append_batch, append_one TO waybill_service;
