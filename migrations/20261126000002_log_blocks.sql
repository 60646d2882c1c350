-- Completeness that can be shown: sums over all events up to the end of each block of positions. A reader keeps the same sums over what
-- it has applied; where they differ, something was skipped, doubled, or is another event. Expand step: nothing reads it yet.
SET LOCAL lock_timeout = '5s';

-- 48 bits of a SHA-256, so that sums over a log of any size, weighted with positions, stay below 2^127.
CREATE FUNCTION event_hash(p_position bigint, p_event_id uuid) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ('x' || encode(substr(sha256(uuid_send(p_event_id) || int8send(p_position)), 1, 6), 'hex'))::bit(48)::bigint;

-- Ten thousand positions each, sealed once the log has passed them; never changed.
CREATE TABLE log_blocks (
    block        bigint      NOT NULL CHECK (block >= 1), -- up to position block * 10000
    hash_sum     numeric     NOT NULL, -- of event_hash, over every event from the first
    weighted_sum numeric     NOT NULL, -- of position * event_hash: of one event that differs, it tells the position
    sealed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT log_blocks_pkey PRIMARY KEY (block)
);

-- Count and sums over every event up to a position: from the last sealed block before it, and the rows after that.
CREATE FUNCTION log_tally(p_position bigint, OUT event_count bigint, OUT hash_sum numeric, OUT weighted_sum numeric)
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    v_sealed bigint;
BEGIN
    SELECT b.block * 10000, b.hash_sum, b.weighted_sum INTO v_sealed, hash_sum, weighted_sum
    FROM log_blocks AS b WHERE b.block <= p_position / 10000 ORDER BY b.block DESC LIMIT 1;
    v_sealed := coalesce(v_sealed, 0);
    SELECT v_sealed + count(*), coalesce(hash_sum, 0) + coalesce(sum(r.hash), 0),
           coalesce(weighted_sum, 0) + coalesce(sum(r.position::numeric * r.hash), 0)
    INTO event_count, hash_sum, weighted_sum
    FROM (SELECT e.position, event_hash(e.position, e.event_id) AS hash
          FROM events AS e WHERE e.position > v_sealed AND e.position <= p_position OFFSET 0) AS r;
END $$;

-- Seals the next blocks, at most so many, and returns how many. A block with a hole raises WB002 and is not sealed.
CREATE FUNCTION seal_log_blocks(p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_head   bigint;
    v_block  bigint;
    v_sealed integer := 0;
    v_tally  record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('seal_log_blocks'));
    SELECT coalesce(max(position), 0) INTO v_head FROM events;
    SELECT coalesce(max(block), 0) INTO v_block FROM log_blocks;
    WHILE v_sealed < p_limit AND (v_block + 1) * 10000 <= v_head LOOP
        v_block := v_block + 1;
        SELECT * INTO v_tally FROM log_tally(v_block * 10000);
        IF v_tally.event_count <> v_block * 10000 THEN
            EXIT WHEN v_sealed > 0; -- those are kept; the next call says it
            RAISE EXCEPTION 'the log has a hole between positions % and %', (v_block - 1) * 10000 + 1, v_block * 10000
                USING ERRCODE = 'WB002';
        END IF;
        INSERT INTO log_blocks (block, hash_sum, weighted_sum) VALUES (v_block, v_tally.hash_sum, v_tally.weighted_sum);
        v_sealed := v_sealed + 1;
    END LOOP;
    RETURN v_sealed;
END $$;

-- As before, and each partition is frozen by autovacuum while it is filled: rows that never change need no second visit, and none of them
-- waits for the day on which all transaction ids are used up.
CREATE OR REPLACE FUNCTION attach_event_partitions(p_position bigint) RETURNS integer
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
        PERFORM freeze_when_filled(v_name);
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (position >= %s AND position < %s)',
                       v_name, v_name || '_range', n * c_width, (n + 1) * c_width);
        EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                       v_name, n * c_width, (n + 1) * c_width);
        v_attached := v_attached + 1;
    END LOOP;
    RETURN v_attached;
END $$;

CREATE FUNCTION freeze_when_filled(p_partition text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I SET (autovacuum_freeze_min_age = 0, autovacuum_vacuum_insert_scale_factor = 0, '
                   'autovacuum_vacuum_insert_threshold = 500000)', p_partition);
END $$;
SELECT freeze_when_filled(c.relname) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'events'::regclass;

REVOKE ALL ON FUNCTION event_hash, log_tally, seal_log_blocks, freeze_when_filled FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_hash, log_tally, seal_log_blocks TO waybill_service;
GRANT SELECT ON log_blocks TO waybill_service;
