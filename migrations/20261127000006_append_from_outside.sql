-- Whoever appends from outside is told more of what it got wrong, and cannot keep everybody from appending for long. Expand step: the
-- signature is the same.
SET LOCAL lock_timeout = '5s';

-- As before; and refused (22023) is what no reader could make anything of, (25001) a transaction that would not see what others append
-- meanwhile. docs/append_events.md says how it is called.
--
-- The shape of the arguments is judged in one expression without a query, which costs a call next to nothing.
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
    c_escape   CONSTANT text := chr(92) || 'u'; -- a session may read a backslash in a literal in its own way
    v_streams  CONSTANT integer := coalesce(cardinality(p_stream_ids), 0);
    v_events   CONSTANT integer := coalesce(cardinality(p_event_ids), 0);
    v_commands CONSTANT integer := coalesce(cardinality(p_command_ids), 0);
    v_wrong    text;
    v_fits     boolean;
BEGIN
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        RAISE EXCEPTION 'append_events must be called in a transaction that is READ COMMITTED: another would not see what others append meanwhile'
            USING ERRCODE = '25001';
    END IF;
    v_wrong := CASE
        WHEN (p_hint >= 0) IS NOT TRUE THEN 'p_hint must be a position that the log has reached, or 0'
        WHEN v_streams = 0 OR v_events = 0 THEN 'there must be a stream and an event at least'
        WHEN (cardinality(p_stream_appends) = v_streams AND cardinality(p_expected) = v_streams) IS NOT TRUE
            THEN 'p_stream_ids, p_stream_appends and p_expected must be of the same length'
        WHEN (cardinality(p_event_appends) = v_events AND cardinality(p_event_streams) = v_events AND cardinality(p_event_versions) = v_events
              AND cardinality(p_event_types) = v_events AND cardinality(p_schema_versions) = v_events
              AND cardinality(p_payloads) = v_events AND cardinality(p_metadata) = v_events) IS NOT TRUE
            THEN 'p_event_appends, p_event_streams, p_event_versions, p_event_ids, p_event_types, p_schema_versions, p_payloads and p_metadata must be of the same length'
        WHEN (v_commands = coalesce(cardinality(p_command_appends), 0) AND v_commands = coalesce(cardinality(p_command_streams), 0)
              AND v_commands = coalesce(cardinality(p_command_versions), 0)) IS NOT TRUE
            THEN 'p_command_appends, p_command_streams, p_command_ids and p_command_versions must be of the same length'
        WHEN array_ndims(p_stream_ids) > 1 OR array_ndims(p_event_ids) > 1 OR array_ndims(p_event_types) > 1 THEN 'arrays must have one dimension'
        WHEN array_position(p_event_ids, NULL) IS NOT NULL THEN 'each event needs an id'
        WHEN array_position(p_stream_ids, NULL) IS NOT NULL OR '' = ANY (p_stream_ids) OR length(p_stream_ids[1]) > 200
             OR array_to_string(p_stream_ids, '') COLLATE "C" ~ '[[:cntrl:]]'
            THEN 'each stream needs a name of at most 200 characters, as order-17, without control characters'
        WHEN array_position(p_event_types, NULL) IS NOT NULL OR '' = ANY (p_event_types)
             OR array_to_string(p_event_types, '') COLLATE "C" ~ '[[:cntrl:]]'
            THEN 'each event needs a type, as OrderPlaced, without control characters'
        WHEN (1 <= ALL (p_schema_versions)) IS NOT TRUE THEN 'a schema version counts from 1'
        -- Text that begins with a brace, and is cast to JSON below, is an object.
        WHEN (('{' COLLATE "C") <= ALL (p_payloads) AND ('|' COLLATE "C") > ALL (p_payloads)
              AND ('{' COLLATE "C") <= ALL (p_metadata) AND ('|' COLLATE "C") > ALL (p_metadata)) IS NOT TRUE
            THEN 'payloads and metadata must be JSON objects, with nothing before the brace'
    END;
    IF v_wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', v_wrong USING ERRCODE = '22023';
    END IF;
    -- Escapes that are JSON and no text: half a surrogate (22P02), U+0000 (22P05). json keeps them, and whoever reads a field later fails.
    IF strpos(array_to_string(p_payloads, ''), c_escape) + strpos(array_to_string(p_metadata, ''), c_escape) > 0 THEN
        v_fits := p_payloads::jsonb[] IS NULL OR p_metadata::jsonb[] IS NULL;
    END IF;
    -- From here to the end of the caller's transaction nobody else can append: who goes away in its middle must not be waited for for ever.
    IF current_setting('idle_in_transaction_session_timeout') = '0' THEN
        v_wrong := set_config('idle_in_transaction_session_timeout', '10s', true);
    END IF;

    IF v_streams = 1 AND v_commands <= 1 THEN
        -- What most outsiders append. Compared without a statement: those cost more than the comparison.
        v_fits := p_expected[1] >= 0 AND p_stream_appends[1] IS NOT NULL
            AND p_event_streams = array_fill(p_stream_ids[1], ARRAY[v_events])
            AND p_event_appends = array_fill(p_stream_appends[1], ARRAY[v_events])
            AND (v_commands = 0
                 OR (p_command_ids[1] IS NOT NULL AND (p_command_appends, p_command_streams) = (p_stream_appends, p_stream_ids)
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
               WHERE length(s.stream_id) > 200 OR s.append IS NULL OR s.expected IS NULL OR s.expected < 0) THEN
        RAISE EXCEPTION 'each stream needs a name of at most 200 characters, the number of its append, and its expected version from 0'
            USING ERRCODE = '22023';
    END IF;
    SELECT s.stream_id INTO v_wrong FROM unnest(p_stream_ids) AS s (stream_id) GROUP BY s.stream_id HAVING count(*) > 1 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'stream % is given more than once', v_wrong USING ERRCODE = '22023';
    END IF;
    SELECT s.stream_id INTO v_wrong FROM unnest(p_stream_ids) AS s (stream_id) WHERE s.stream_id <> ALL (p_event_streams) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'stream % is given without an event', v_wrong USING ERRCODE = '22023';
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
    SELECT coalesce(c.stream_id, 'NULL') INTO v_wrong
    FROM unnest(p_command_appends, p_command_streams, p_command_ids, p_command_versions) AS c (append, stream_id, id, version)
    LEFT JOIN unnest(p_stream_appends, p_stream_ids, p_expected) AS s (append, stream_id, expected) ON s.stream_id = c.stream_id
    LEFT JOIN (SELECT e.stream_id, count(*) AS events FROM unnest(p_event_streams) AS e (stream_id) GROUP BY e.stream_id) AS e
        ON e.stream_id = c.stream_id
    WHERE c.id IS NULL
       OR CASE WHEN s.stream_id IS NULL THEN c.version = 0 AND c.append = ANY (p_stream_appends)
               ELSE c.append = s.append AND c.version > s.expected AND c.version <= s.expected + e.events END IS NOT TRUE
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'a command of stream % has no id, or does not lead to a version that its append writes', v_wrong USING ERRCODE = '22023';
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

COMMENT ON FUNCTION append_events IS 'Appends events to the log, each append with its own verdict. How to call it: docs/append_events.md';

-- As before; what the metadata names is taken from their text: JSON may hold what is no text, and no UUID, and neither may keep the commands of
-- all others from being forgotten.
CREATE OR REPLACE FUNCTION forget_commands(p_days integer, p_limit integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    c_named CONSTANT text := '"causation_id"\s*:\s*"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"';
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
      AND c.command_id = substring(e.metadata::text FROM c_named)::uuid;
    UPDATE commands_forgotten SET up_to = v_to;
    RETURN v_to - v_from;
END $$;
