-- The event log: append-only, the one source of truth. Expand step: nothing reads it yet.
SET LOCAL lock_timeout = '5s';

CREATE TABLE events (
    -- Dense and in commit order: the append reads the last one under the lock on log_head. A reader may rely on n, n + 1.
    position        bigint      NOT NULL CHECK (position >= 1),
    stream_id       text        NOT NULL COLLATE "C", -- '{category}-{id}'; the locking order is Rust's string order
    stream_version  bigint      NOT NULL CHECK (stream_version >= 1),
    event_id        uuid        NOT NULL,
    event_type      text        NOT NULL, -- 'OrderPlaced'
    schema_version  smallint    NOT NULL,
    payload         json        NOT NULL, -- json, not jsonb: kept byte for byte, since the audit tree hashes it
    metadata        json        NOT NULL, -- correlation_id, causation_id (the command), actor, tenant, trace context
    recorded_at     timestamptz NOT NULL, -- set by the append, never backwards in position
    PRIMARY KEY (position),
    -- One event per version of a stream is kept by the locked row in streams; this index finds a stream inside a partition.
    CONSTRAINT events_by_stream UNIQUE (stream_id, stream_version, position)
) PARTITION BY RANGE (position);

-- One row per stream; its lock is what makes a version belong to one event. HOT updates: no index on a moving column.
CREATE TABLE streams (
    stream_id       text   NOT NULL COLLATE "C",
    version         bigint NOT NULL DEFAULT 0, -- 0: named by a refused append, but has no event
    since_position  bigint NOT NULL, -- every event of the stream stands after it; tells a load which partitions to skip
    CONSTRAINT streams_pkey PRIMARY KEY (stream_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- Commands that had an effect, with the version that they led to: repeating one gets the first answer.
CREATE TABLE commands (
    stream_id       text   NOT NULL COLLATE "C",
    command_id      uuid   NOT NULL,
    stream_version  bigint NOT NULL,
    CONSTRAINT commands_pkey PRIMARY KEY (stream_id, command_id)
);

-- Its lock is taken last by every append and held to the commit. The row is never updated: under an old snapshot, a counter's
-- dead versions would pile up and slow every append.
CREATE TABLE log_head (
    log_id text NOT NULL PRIMARY KEY
);
INSERT INTO log_head (log_id) VALUES ('main');

-- Where each reader that keeps its progress in Postgres stands.
CREATE TABLE checkpoints (
    reader      text        NOT NULL,
    log_id      text        NOT NULL,
    position    bigint      NOT NULL,
    event_id    uuid        NOT NULL, -- of the event at that position: another one there means that history changed
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT checkpoints_pkey PRIMARY KEY (reader, log_id)
) WITH (fillfactor = 50);

-- Attaches partitions of five million positions until one is ready beyond the one that p_position falls into. Made apart and then
-- attached, which blocks neither appends nor reads. Returns how many were attached.
CREATE FUNCTION attach_event_partitions(p_position bigint) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    c_width CONSTANT bigint := 5000000;
    v_attached integer := 0;
    v_name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('attach_event_partitions'));
    FOR n IN 0 .. p_position / c_width + 1 LOOP
        v_name := format('events_p%s', lpad(n::text, 6, '0'));
        CONTINUE WHEN to_regclass(v_name) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', v_name);
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (position >= %s AND position < %s)',
                       v_name, v_name || '_range', n * c_width, (n + 1) * c_width);
        EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                       v_name, n * c_width, (n + 1) * c_width);
        v_attached := v_attached + 1;
    END LOOP;
    RETURN v_attached;
END $$;
SELECT attach_event_partitions(0);

-- Appends a batch: the only way into the log. Locks, then judges, then writes, in the caller's transaction (READ COMMITTED).
--
-- A batch is many appends, numbered by the caller; each takes effect whole or not at all. Streams are given sorted bytewise, each at
-- most once in a batch. Events stand in the order in which they shall enter the log. p_hint is a position that the log is known to
-- have reached (0 if none): it spares looking at old partitions.
--
-- Returns one row: the position before the first event written, the time recorded, and for each stream that was not at its expected
-- version (0: no such stream) its number in p_stream_ids, from 1, and its version; no append that names one of those wrote anything.
CREATE FUNCTION append_events(
    p_hint            bigint,
    p_stream_ids      text[], p_stream_appends  integer[], p_expected        bigint[], p_event_counts    bigint[],
    p_event_appends   integer[], p_event_streams text[],   p_event_versions  bigint[], p_event_ids       uuid[],
    p_event_types     text[], p_schema_versions smallint[], p_payloads       text[],   p_metadata        text[],
    p_command_appends integer[], p_command_streams text[], p_command_ids     uuid[],   p_command_versions bigint[],
    OUT last_position bigint, OUT recorded timestamptz, OUT stale_streams integer[], OUT stale_versions bigint[]
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_versions bigint[];
    v_refused  integer[] := '{}';
    v_last_at  timestamptz;
BEGIN
    stale_streams := '{}';
    stale_versions := '{}';

    -- New streams get a row, so that there is something to lock.
    IF 0 = ANY (p_expected) THEN
        INSERT INTO streams (stream_id, since_position)
        SELECT s.stream_id, p_hint FROM unnest(p_stream_ids, p_expected) AS s (stream_id, expected)
        WHERE s.expected = 0 ORDER BY s.stream_id COLLATE "C"
        ON CONFLICT DO NOTHING;
    END IF;

    -- Everybody locks in the same order, so nobody waits in a circle.
    SELECT array_agg(coalesce(l.version, 0) ORDER BY s.number) INTO v_versions
    FROM unnest(p_stream_ids) WITH ORDINALITY AS s (stream_id, number)
    LEFT JOIN (SELECT stream_id, version FROM streams WHERE stream_id = ANY (p_stream_ids) ORDER BY stream_id FOR UPDATE) AS l
        ON l.stream_id = s.stream_id;

    IF v_versions <> p_expected THEN
        SELECT array_agg(s.number::integer), array_agg(s.version), array_agg(DISTINCT s.append)
        INTO stale_streams, stale_versions, v_refused
        FROM unnest(p_stream_appends, p_expected, v_versions) WITH ORDINALITY AS s (append, expected, version, number)
        WHERE s.version <> s.expected;
    END IF;

    UPDATE streams SET version = s.expected + s.events
    FROM unnest(p_stream_ids, p_stream_appends, p_expected, p_event_counts) AS s (stream_id, append, expected, events)
    WHERE streams.stream_id = s.stream_id AND s.append <> ALL (v_refused);
    IF NOT FOUND THEN
        RETURN;
    END IF;

    INSERT INTO commands (stream_id, command_id, stream_version)
    SELECT c.stream_id, c.command_id, c.version
    FROM unnest(p_command_appends, p_command_streams, p_command_ids, p_command_versions) AS c (append, stream_id, command_id, version)
    WHERE c.append <> ALL (v_refused);

    PERFORM FROM log_head FOR UPDATE;
    -- A statement of its own, so a snapshot taken after the lock: it sees what the last holder committed.
    SELECT e.position, e.recorded_at INTO last_position, v_last_at
    FROM events AS e WHERE e.position >= p_hint ORDER BY e.position DESC LIMIT 1;
    IF NOT FOUND THEN
        IF p_hint > 0 THEN
            RAISE EXCEPTION 'the log ends before position %, which it is said to have reached', p_hint
                USING ERRCODE = 'data_exception', HINT = 'History changed: restart the process.';
        END IF;
        last_position := 0;
    END IF;
    recorded := greatest(clock_timestamp(), v_last_at);

    INSERT INTO events (position, stream_id, stream_version, event_id, event_type, schema_version, payload, metadata, recorded_at)
    SELECT last_position + row_number() OVER (ORDER BY e.number), e.stream_id, e.version, e.event_id, e.event_type, e.schema_version,
           e.payload::json, e.metadata::json, recorded
    FROM unnest(p_event_appends, p_event_streams, p_event_versions, p_event_ids, p_event_types, p_schema_versions, p_payloads, p_metadata)
        WITH ORDINALITY AS e (append, stream_id, version, event_id, event_type, schema_version, payload, metadata, number)
    WHERE e.append <> ALL (v_refused);
END $$;

-- Services append through the function, move checkpoints, and read; nobody but the owner can change or delete an event.
REVOKE ALL ON FUNCTION append_events, attach_event_partitions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION append_events, attach_event_partitions TO waybill_service;
GRANT SELECT ON events, streams, commands, log_head TO waybill_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON checkpoints TO waybill_service;
