-- Appends by whoever is outside, most often to one stream: half of what such a call cost was to check and to judge it as a batch of many.
-- Expand step: the previous release calls append_events, as before.
SET LOCAL lock_timeout = '5s';

-- Some events of one stream, with one command (NULL: none), for who remembers nothing: what append_batch does.
CREATE FUNCTION append_to_stream(
    p_hint bigint, p_stream_id text, p_expected bigint, p_event_versions bigint[], p_event_ids uuid[], p_event_types text[],
    p_schema_versions smallint[], p_payloads json[], p_metadata json[], p_command_id uuid, p_command_version bigint,
    OUT last_position bigint, OUT recorded timestamptz, OUT stale_streams integer[], OUT stale_versions bigint[]
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    c_recent    CONSTANT bigint := 5000000;
    v_since     bigint; -- the version is known as of this position; NULL: the stream is new
    v_version   bigint;
    v_last_at   timestamptz;
    v_overtaken boolean;
BEGIN
    stale_streams := '{}';
    stale_versions := '{}';
    PERFORM pg_advisory_xact_lock(hashtextextended(p_stream_id, 0));
    IF p_expected = 0 THEN
        INSERT INTO streams (stream_id, since_position) VALUES (p_stream_id, p_hint) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            v_since := p_hint;
        END IF;
    ELSE
        SELECT h.position, (SELECT e.stream_version FROM events AS e WHERE e.stream_id = p_stream_id AND e.position > h.position - c_recent
                            ORDER BY e.stream_version DESC LIMIT 1)
        INTO v_since, v_version FROM (SELECT coalesce(max(position), 0) AS position FROM events WHERE position >= p_hint) AS h;
    END IF;
    IF v_since IS NOT NULL AND v_version IS DISTINCT FROM p_expected THEN
        SELECT (SELECT max(e.stream_version) FROM events AS e WHERE e.stream_id = t.stream_id AND e.position > t.since_position)
        INTO v_version FROM streams AS t WHERE t.stream_id = p_stream_id;
        IF coalesce(v_version, 0) <> p_expected THEN
            PERFORM refuse_changed_history(p_hint, 0, NULL);
            stale_streams := '{1}';
            stale_versions := ARRAY[coalesce(v_version, 0)];
            RETURN;
        END IF;
    END IF;
    IF p_command_id IS NOT NULL THEN
        INSERT INTO commands (stream_id, command_id, stream_version) VALUES (p_stream_id, p_command_id, p_command_version);
    END IF;

    PERFORM FROM log_head FOR UPDATE;
    SELECT l.position, l.recorded_at, EXISTS (
        SELECT FROM events AS e WHERE e.stream_id = p_stream_id AND e.stream_version > p_expected AND e.position > v_since
    ) INTO last_position, v_last_at, v_overtaken
    FROM events AS l WHERE l.position >= p_hint ORDER BY l.position DESC LIMIT 1;
    IF NOT FOUND THEN
        IF p_hint > 0 THEN
            PERFORM raise_history_changed(p_hint);
        END IF;
        last_position := 0;
    END IF;
    IF v_overtaken THEN
        PERFORM raise_overtaken(false);
    END IF;
    recorded := greatest(clock_timestamp(), v_last_at);
    INSERT INTO events (position, stream_id, stream_version, event_id, event_type, schema_version, payload, metadata, recorded_at)
    SELECT generate_series(last_position + 1, last_position + cardinality(p_event_ids)), p_stream_id, unnest(p_event_versions),
           unnest(p_event_ids), unnest(p_event_types), unnest(p_schema_versions), unnest(p_payloads), unnest(p_metadata), recorded;
END $$;

-- The same for whoever is outside: remembers nothing, so that every version is looked for; sends commands in any order; and is told
-- (22023) what it got wrong: streams given once each; of each the events in order, at the versions that follow p_expected; commands of
-- those streams, at one of those versions.
-- p_event_counts is not read any more; it stays so that the previous release finds the function.
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
DECLARE
    v_wrong  text;
    v_events integer;
    v_fits   boolean;
BEGIN
    IF cardinality(p_stream_ids) = 1 AND cardinality(p_command_ids) <= 1 THEN
        -- What most outsiders append. Compared without a statement: those cost more than the comparison.
        v_events := cardinality(p_event_ids);
        v_fits := p_stream_ids[1] IS NOT NULL AND p_expected[1] >= 0 AND v_events > 0 AND cardinality(p_event_versions) = v_events
            AND p_event_streams = array_fill(p_stream_ids[1], ARRAY[v_events])
            AND p_event_appends = array_fill(p_stream_appends[1], ARRAY[v_events])
            AND (cardinality(p_command_ids) = 0
                 OR (p_command_ids[1] IS NOT NULL AND (p_command_appends, p_command_streams) = (p_stream_appends, p_stream_ids)
                     AND cardinality(p_command_versions) = 1
                     AND p_command_versions[1] > p_expected[1] AND p_command_versions[1] <= p_expected[1] + v_events));
        FOR n IN 1 .. v_events LOOP
            EXIT WHEN v_fits IS NOT TRUE;
            v_fits := p_event_versions[n] = p_expected[1] + n;
        END LOOP;
        IF v_fits THEN
            SELECT a.last_position, a.recorded, a.stale_streams, a.stale_versions INTO last_position, recorded, stale_streams, stale_versions
            FROM append_to_stream(
                p_hint, p_stream_ids[1], p_expected[1], p_event_versions, p_event_ids, p_event_types, p_schema_versions,
                p_payloads::json[], p_metadata::json[], p_command_ids[1], p_command_versions[1]
            ) AS a;
            RETURN;
        END IF;
    END IF;

    IF EXISTS (SELECT FROM unnest(p_stream_ids, p_stream_appends, p_expected) AS s (stream_id, append, expected)
               WHERE s.stream_id IS NULL OR s.append IS NULL OR s.expected IS NULL OR s.expected < 0) THEN
        RAISE EXCEPTION 'each stream needs a name, the number of its append, and its expected version from 0' USING ERRCODE = '22023';
    END IF;
    SELECT s.stream_id INTO v_wrong FROM unnest(p_stream_ids) AS s (stream_id) GROUP BY s.stream_id HAVING count(*) > 1 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'stream % is given more than once', v_wrong USING ERRCODE = '22023';
    END IF;
    SELECT w.stream_id INTO v_wrong FROM (
        SELECT e.stream_id, e.version IS NOT DISTINCT FROM s.expected + row_number() OVER (PARTITION BY e.stream_id ORDER BY e.number)
                            AND e.append = s.append AS fits
        FROM unnest(p_event_appends, p_event_streams, p_event_versions) WITH ORDINALITY AS e (append, stream_id, version, number)
        LEFT JOIN unnest(p_stream_appends, p_stream_ids, p_expected) AS s (append, stream_id, expected) ON s.stream_id = e.stream_id
    ) AS w WHERE w.fits IS NOT TRUE LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the events of stream % do not follow its expected version one by one, in the append of the stream', v_wrong
            USING ERRCODE = '22023';
    END IF;

    -- A key stands under its category, at version 0.
    SELECT c.stream_id INTO v_wrong
    FROM unnest(p_command_appends, p_command_streams, p_command_versions) AS c (append, stream_id, version)
    LEFT JOIN unnest(p_stream_appends, p_stream_ids, p_expected) AS s (append, stream_id, expected) ON s.stream_id = c.stream_id
    LEFT JOIN (SELECT e.stream_id, count(*) AS events FROM unnest(p_event_streams) AS e (stream_id) GROUP BY e.stream_id) AS e
        ON e.stream_id = c.stream_id
    WHERE CASE WHEN s.stream_id IS NULL THEN c.version = 0 AND c.append = ANY (p_stream_appends)
               ELSE c.append = s.append AND c.version > s.expected AND c.version <= s.expected + e.events END IS NOT TRUE
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'a command of stream % does not lead to a version that its append writes', v_wrong USING ERRCODE = '22023';
    END IF;
    SELECT array_agg(c.append), array_agg(c.stream_id), array_agg(c.id), array_agg(c.version)
    INTO p_command_appends, p_command_streams, p_command_ids, p_command_versions
    FROM (SELECT * FROM unnest(p_command_appends, p_command_streams, p_command_ids, p_command_versions) AS c (append, stream_id, id, version)
          ORDER BY stream_id COLLATE "C", id) AS c;
    SELECT b.last_position, b.recorded, b.stale_streams, b.stale_versions INTO last_position, recorded, stale_streams, stale_versions
    FROM append_batch(
        p_hint, 0, NULL, NULL, NULL, NULL, p_stream_ids, p_stream_appends, p_expected, NULL, p_event_appends, p_event_streams, p_event_versions,
        p_event_ids, p_event_types, p_schema_versions, p_payloads::json[], p_metadata::json[], p_command_appends, p_command_streams,
        p_command_ids, p_command_versions
    ) AS b;
END $$;

REVOKE ALL ON FUNCTION append_to_stream FROM PUBLIC;
