-- A single append is faster by a twentieth: a condition that contains a query is set up and run as one each time, also where what stands
-- before it already decides; so what is compared without one comes first, in a condition of its own.
SET LOCAL lock_timeout = '5s';

-- As before.
CREATE OR REPLACE FUNCTION append_one(
    p_hint bigint, p_known bigint, p_known_event uuid, p_stream_id text, p_expected bigint, p_look boolean,
    p_event_id uuid, p_event_type text, p_schema_version smallint, p_payload json, p_metadata json, p_command_id uuid,
    OUT last_position bigint, OUT last_event uuid, OUT recorded timestamptz, OUT stale_streams integer[], OUT stale_versions bigint[]
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    c_recent  CONSTANT bigint := 5000000;
    v_looked  CONSTANT boolean := p_expected > 0 AND (p_look OR p_known = 0);
    v_since   bigint; -- the version is known as of this position; NULL: the stream is new
    v_version bigint;
    v_last_at timestamptz;
BEGIN
    stale_streams := '{}';
    stale_versions := '{}';
    PERFORM pg_advisory_xact_lock(hashtextextended(p_stream_id, 0));
    IF p_expected = 0 THEN
        INSERT INTO streams (stream_id, since_position) VALUES (p_stream_id, p_hint) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            v_since := p_hint;
        END IF;
    ELSIF NOT v_looked THEN
        v_since := p_known;
        v_version := p_expected;
    ELSE
        SELECT coalesce(max(position), 0) INTO v_since FROM events WHERE position >= p_hint;
        SELECT e.stream_version INTO v_version FROM events AS e
        WHERE e.stream_id = p_stream_id AND e.position > v_since - c_recent ORDER BY e.stream_version DESC LIMIT 1;
    END IF;
    IF v_since IS NOT NULL AND v_version IS DISTINCT FROM p_expected THEN
        SELECT (SELECT max(e.stream_version) FROM events AS e WHERE e.stream_id = t.stream_id AND e.position > t.since_position)
        INTO v_version FROM streams AS t WHERE t.stream_id = p_stream_id;
        IF coalesce(v_version, 0) <> p_expected THEN
            PERFORM refuse_changed_history(p_hint, p_known, p_known_event);
            stale_streams := '{1}';
            stale_versions := ARRAY[coalesce(v_version, 0)];
            RETURN;
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
    IF p_known > 0 AND last_event IS DISTINCT FROM p_known_event THEN
        PERFORM refuse_changed_history(0, p_known, p_known_event);
    END IF;
    IF last_position > v_since THEN
        IF EXISTS (SELECT FROM events AS e WHERE e.stream_id = p_stream_id AND e.stream_version > p_expected AND e.position > v_since) THEN
            PERFORM raise_overtaken(p_expected > 0 AND NOT v_looked);
        END IF;
    END IF;

    INSERT INTO events (position, stream_id, stream_version, event_id, event_type, schema_version, payload, metadata, recorded_at)
    VALUES (last_position + 1, p_stream_id, p_expected + 1, p_event_id, p_event_type, p_schema_version, p_payload, p_metadata, recorded);
END $$;
