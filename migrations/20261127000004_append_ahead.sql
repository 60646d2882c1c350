-- Two things are new in the append: it may write its events before it has the head of the log, and its lookups do not depend on what the
-- planner believes. Expand step: the previous release calls it as before, and never writes ahead.
--
-- An event is found by its position, and a stream's row by its name, in the index that is made for it. The newest partition of events is
-- empty when plans are made and full soon after; while it holds a row or two, to go through the whole index by stream costs the planner no
-- more than to look into the one by position, and such a plan was kept until the partition was analysed. So whatever is looked for by
-- position is asked for in that order, of which there is one index; and a stream's row stands in a query of its own, which cannot become a
-- join over all of them.
SET LOCAL lock_timeout = '5s';

-- Refuses a log that ends before a position that it is said to have reached, or that holds another event where one is known (0: neither is).
CREATE OR REPLACE FUNCTION refuse_changed_history(p_reached bigint, p_known bigint, p_known_event uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF p_reached > 0 AND (SELECT e.position FROM events AS e WHERE e.position >= p_reached ORDER BY e.position LIMIT 1) IS NULL THEN
        PERFORM raise_history_changed(p_reached);
    END IF;
    IF p_known > 0 AND (SELECT (e.position, e.event_id) = (p_known, p_known_event) FROM events AS e
                        WHERE e.position >= p_known ORDER BY e.position LIMIT 1) IS NOT TRUE THEN
        PERFORM raise_history_changed(p_known);
    END IF;
END $$;

-- Events were written ahead, and what stands before them is not what was foreseen: call again, not ahead.
CREATE FUNCTION raise_not_next() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'events that were written ahead do not follow the batch that they were to follow' USING ERRCODE = 'WB004';
END $$;

-- As before; and p_ahead says that the events may be written while the batch that is to end at p_next is not yet committed, if its positions
-- are certain: then so are those behind it. Two batches are written at once, and committed in the order of the log.
--
-- A batch shows that its positions are certain, because it has the head of the log or has been written ahead itself, by a lock whose name is
-- its first event and its last position. (It only tries: who looks whether it is shown has the lock for a moment, and is then not ahead.) So
-- whoever waits for that lock waits for one who writes up to p_next and no further, and who waits for nobody who might wait for him. (But
-- for a batch of another process that still writes ahead of one that is gone: then a circle is possible, which Postgres ends.)
--
-- Who begins to write ahead shows that too, by a lock whose name is its first event and -1; whoever foresees it, and is not ahead himself,
-- waits for it before he takes the head. Else he would overtake it, and it would have written in vain.
--
-- What is written ahead must neither wait for whoever has the head nor be waited for by him: he may want to write to the same positions. So
-- only the batch before is waited for; if then somebody has the head already, or if not just that batch came since p_known, it raises WB004,
-- and what was written is undone: call again, not ahead. (23505 on events means the same.)
CREATE FUNCTION append_batch(
    p_hint            bigint,    p_known           bigint,    p_known_event    uuid,
    p_next            bigint,    p_next_first      uuid,      p_next_event     uuid,
    p_stream_ids      text[],    p_stream_appends  integer[], p_expected       bigint[], p_look             boolean[],
    p_event_appends   integer[], p_event_streams   text[],    p_event_versions bigint[], p_event_ids        uuid[],
    p_event_types     text[],    p_schema_versions smallint[], p_payloads      json[],   p_metadata         json[],
    p_command_appends integer[], p_command_streams text[],    p_command_ids    uuid[],   p_command_versions bigint[],
    p_ahead           boolean,
    OUT last_position bigint, OUT last_event uuid, OUT recorded timestamptz, OUT stale_streams integer[], OUT stale_versions bigint[]
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    -- Versions are looked for in so many of the last positions first: one or two partitions.
    c_recent   CONSTANT bigint := 5000000;
    v_streams  CONSTANT integer := cardinality(p_stream_ids);
    v_events   CONSTANT integer := cardinality(p_event_ids);
    v_since    bigint;       -- the versions are known as of this position; NULL: there are none
    v_vouched  integer := 0; -- streams that the caller vouches for
    v_new      integer;
    v_current  integer;      -- streams that are at their expected version
    v_versions bigint[];     -- of all of them, once they were looked for
    v_refused  integer[] := '{}';
    v_last_at  timestamptz;
    v_last_xid xid;
    v_is_known boolean;
    v_is_next  boolean := false;
    v_overtaken boolean := false;
    v_is_ahead  boolean;
    v_before    bigint := 9223372036854775807; -- what is written ahead stands behind this position
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
        SELECT coalesce(max(position), 0) INTO v_since FROM events WHERE position >= p_hint;
        v_current := v_current + (
            SELECT count(*) FROM unnest(p_stream_ids, p_expected, p_look) AS s (stream_id, expected, look)
            WHERE s.expected > 0 AND (s.look OR p_known = 0) AND s.expected = (
                SELECT e.stream_version FROM events AS e
                WHERE e.stream_id = s.stream_id AND e.position > v_since - c_recent ORDER BY e.stream_version DESC LIMIT 1
            )
        );
    END IF;

    -- Not all of them: some are stale, or rest since long ago, or were named by an append that was refused.
    IF v_current <> v_streams THEN
        SELECT array_agg(coalesce(s.version, 0) ORDER BY s.number) INTO v_versions
        FROM (SELECT n.number, (SELECT max(e.stream_version) FROM events AS e WHERE e.stream_id = n.stream_id AND e.position > (
                         SELECT t.since_position FROM streams AS t WHERE t.stream_id = n.stream_id)) AS version
              FROM unnest(p_stream_ids) WITH ORDINALITY AS n (stream_id, number)) AS s;
        IF v_versions <> p_expected THEN
            SELECT array_agg(s.number::integer), array_agg(s.version), array_agg(DISTINCT s.append)
            INTO stale_streams, stale_versions, v_refused
            FROM unnest(p_stream_appends, p_expected, v_versions) WITH ORDINALITY AS s (append, expected, version, number)
            WHERE s.version IS DISTINCT FROM s.expected;
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

    -- Ahead only with versions that are all known or new, behind a batch whose positions are certain, and while nobody asks for the position
    -- of a moment: he waits for the head, and then nothing may be recorded earlier.
    v_is_ahead := CASE
        WHEN NOT p_ahead OR v_current <> v_streams OR v_since IS NOT NULL THEN false
        WHEN pg_try_advisory_lock_shared(uuid_hash_extended(p_next_first, p_next))
            THEN NOT pg_advisory_unlock_shared(uuid_hash_extended(p_next_first, p_next))
        WHEN (SELECT e.event_id FROM events AS e WHERE e.position >= p_known ORDER BY e.position DESC LIMIT 1)
            IS DISTINCT FROM p_known_event THEN false
        ELSE pg_try_advisory_xact_lock_shared(hashtext('append_ahead'))
    END;
    IF v_is_ahead THEN
        PERFORM pg_try_advisory_xact_lock(uuid_hash_extended(p_event_ids[1], -1));
        recorded := clock_timestamp();
        INSERT INTO events (position, stream_id, stream_version, event_id, event_type, schema_version, payload, metadata, recorded_at)
        SELECT generate_series(p_next + 1, p_next + v_events), unnest(p_event_streams), unnest(p_event_versions), unnest(p_event_ids),
               unnest(p_event_types), unnest(p_schema_versions), unnest(p_payloads), unnest(p_metadata), recorded;
        -- Not before all is written: until then it may have to wait for whoever has the head, who would wait for who stands behind it.
        PERFORM pg_try_advisory_xact_lock(uuid_hash_extended(p_event_ids[1], p_next + v_events));
        PERFORM pg_advisory_xact_lock_shared(uuid_hash_extended(p_next_first, p_next));
        PERFORM FROM log_head FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            PERFORM raise_not_next();
        END IF;
        v_before := p_next;
    ELSE
        PERFORM pg_advisory_xact_lock_shared(uuid_hash_extended(p_next_first, -1));
        -- Last, and held to the commit: positions are dense and in the order of commits.
        PERFORM FROM log_head FOR UPDATE;
    END IF;
    -- A statement of its own, so a snapshot taken after the lock: it sees what the last holder committed.
    SELECT e.position, e.event_id, e.recorded_at, e.xmin INTO last_position, last_event, v_last_at, v_last_xid
    FROM events AS e WHERE e.position BETWEEN p_hint AND v_before ORDER BY e.position DESC LIMIT 1;
    IF NOT FOUND THEN
        IF p_hint > 0 THEN
            PERFORM raise_history_changed(p_hint);
        END IF;
        last_position := 0;
    END IF;
    IF NOT v_is_ahead THEN
        recorded := greatest(clock_timestamp(), v_last_at);
        IF v_refused = '{}' THEN
            PERFORM pg_try_advisory_xact_lock(uuid_hash_extended(p_event_ids[1], last_position + v_events));
        END IF;
    END IF;

    -- First of all that it is the caller's log.
    IF p_known > 0 AND last_event IS DISTINCT FROM p_known_event THEN
        SELECT bool_or(e.position = p_known AND e.event_id = p_known_event),
               bool_or(e.position > p_known AND e.event_id = p_next_first AND e.xmin = v_last_xid)
                   AND (last_position, last_event) = (p_next, p_next_event)
        INTO v_is_known, v_is_next
        FROM (SELECT position, event_id, xmin FROM events WHERE position >= p_known ORDER BY position LIMIT 2) AS e;
        IF v_is_known IS NOT TRUE THEN
            PERFORM raise_history_changed(p_known);
        END IF;
    END IF;
    IF v_is_ahead THEN
        IF v_is_next IS NOT TRUE OR v_last_at > recorded THEN
            PERFORM raise_not_next();
        END IF;
        RETURN;
    END IF;
    IF v_vouched > 0 AND v_versions IS NULL THEN
        -- What one transaction appends stands together. So if one transaction wrote the foreseen batch's first event right behind p_known
        -- and its last one at the end, as far apart as they are when nothing is refused, then it wrote all that is between. (The same
        -- events may have come in several transactions, after a refusal, and then others may stand among them.)
        v_since := CASE WHEN v_is_next THEN p_next ELSE p_known END;
    END IF;
    IF last_position > v_since + 2000 THEN
        v_overtaken := EXISTS (
            SELECT FROM unnest(p_stream_ids, p_expected, p_stream_appends) AS s (stream_id, expected, append)
            WHERE s.append <> ALL (v_refused) AND EXISTS (
                SELECT FROM events AS e WHERE e.stream_id = s.stream_id AND e.stream_version > s.expected AND e.position > v_since
            )
        );
    ELSIF last_position > v_since THEN
        -- What came since is little: compared in the order of the log, it costs less than to look for each stream. The limit, which
        -- limits nothing, tells the planner.
        v_overtaken := EXISTS (
            SELECT FROM (SELECT stream_id, stream_version FROM events WHERE position > v_since ORDER BY position LIMIT 2000) AS e
            JOIN unnest(p_stream_ids, p_expected, p_stream_appends) AS s (stream_id, expected, append) ON s.stream_id = e.stream_id
            WHERE e.stream_version > s.expected AND s.append <> ALL (v_refused)
        );
    END IF;
    IF v_overtaken THEN
        PERFORM raise_overtaken(v_vouched > 0 AND v_versions IS NULL);
    END IF;

    IF v_refused = '{}' THEN
        INSERT INTO events (position, stream_id, stream_version, event_id, event_type, schema_version, payload, metadata, recorded_at)
        SELECT generate_series(last_position + 1, last_position + v_events), unnest(p_event_streams),
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

-- Never ahead: for append_events, and for the previous release.
CREATE OR REPLACE FUNCTION append_batch(
    p_hint            bigint,    p_known           bigint,    p_known_event    uuid,
    p_next            bigint,    p_next_first      uuid,      p_next_event     uuid,
    p_stream_ids      text[],    p_stream_appends  integer[], p_expected       bigint[], p_look             boolean[],
    p_event_appends   integer[], p_event_streams   text[],    p_event_versions bigint[], p_event_ids        uuid[],
    p_event_types     text[],    p_schema_versions smallint[], p_payloads      json[],   p_metadata         json[],
    p_command_appends integer[], p_command_streams text[],    p_command_ids    uuid[],   p_command_versions bigint[],
    OUT last_position bigint, OUT last_event uuid, OUT recorded timestamptz, OUT stale_streams integer[], OUT stale_versions bigint[]
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    SELECT b.last_position, b.last_event, b.recorded, b.stale_streams, b.stale_versions
    INTO last_position, last_event, recorded, stale_streams, stale_versions
    FROM append_batch(
        p_hint, p_known, p_known_event, p_next, p_next_first, p_next_event, p_stream_ids, p_stream_appends, p_expected, p_look,
        p_event_appends, p_event_streams, p_event_versions, p_event_ids, p_event_types, p_schema_versions, p_payloads,
        p_metadata, p_command_appends, p_command_streams, p_command_ids, p_command_versions, false
    ) AS b;
END $$;

-- As before, but for the lookup of the event that is known.
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
    IF p_known > 0 AND last_event IS DISTINCT FROM p_known_event
        AND (SELECT (e.position, e.event_id) = (p_known, p_known_event) FROM events AS e
             WHERE e.position >= p_known ORDER BY e.position LIMIT 1) IS NOT TRUE THEN
        PERFORM raise_history_changed(p_known);
    END IF;
    IF last_position > v_since THEN
        IF EXISTS (SELECT FROM events AS e WHERE e.stream_id = p_stream_id AND e.stream_version > p_expected AND e.position > v_since) THEN
            PERFORM raise_overtaken(p_expected > 0 AND NOT v_looked);
        END IF;
    END IF;

    INSERT INTO events (position, stream_id, stream_version, event_id, event_type, schema_version, payload, metadata, recorded_at)
    VALUES (last_position + 1, p_stream_id, p_expected + 1, p_event_id, p_event_type, p_schema_version, p_payload, p_metadata, recorded);
END $$;

-- As before; who is writing ahead is waited for too. (He does not wait for the head, and gives up.)
CREATE OR REPLACE FUNCTION position_as_of(p_time timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_before bigint := 0; -- recorded at or before the moment
    v_after  bigint;      -- recorded later, or beyond the head
    v_middle bigint;
BEGIN
    -- Behind an event that was recorded later, nothing earlier can follow.
    IF p_time >= coalesce((SELECT recorded_at FROM events ORDER BY position DESC LIMIT 1), '-infinity') THEN
        PERFORM FROM log_head FOR UPDATE;
        PERFORM pg_advisory_xact_lock(hashtext('append_ahead'));
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

REVOKE ALL ON FUNCTION raise_not_next, append_batch(
    bigint, bigint, uuid, bigint, uuid, uuid, text[], integer[], bigint[], boolean[], integer[], text[], bigint[], uuid[], text[], smallint[],
    json[], json[], integer[], text[], uuid[], bigint[], boolean
) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION append_batch(
    bigint, bigint, uuid, bigint, uuid, uuid, text[], integer[], bigint[], boolean[], integer[], text[], bigint[], uuid[], text[], smallint[],
    json[], json[], integer[], text[], uuid[], bigint[], boolean
) TO waybill_service;
