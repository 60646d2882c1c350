-- In which of the full partitions a stream has events, so that a load touches only those and the ones that are not full. Expand step: who does
-- not know of it reads as before.
SET LOCAL lock_timeout = '5s';

-- A stream's first partition is told by its row in streams. May be emptied at any time: what is not listed is looked into.
CREATE TABLE stream_partitions (
    stream_id       text     NOT NULL COLLATE "C", -- '': the whole partition is listed, and so are all before it
    partition       bigint   NOT NULL, -- the number in its name
    last_version    bigint   NOT NULL, -- of the stream's events in it
    CONSTRAINT stream_partitions_pkey PRIMARY KEY (stream_id, partition)
);

-- Lists the next full partition, in which nothing changes any more. Returns how many it listed: 1, or 0 where none is to be listed. It ends
-- at one that is not attached: it could come back.
CREATE FUNCTION list_full_partition() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '5s' SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    c_width CONSTANT bigint := 5000000;
    v_head  bigint;
    v_next  bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('list_full_partition'));
    SELECT coalesce(max(position), 0) INTO v_head FROM events;
    SELECT coalesce(max(p.partition) + 1, 0) INTO v_next FROM stream_partitions AS p WHERE p.stream_id = '';
    IF v_next > v_head / c_width THEN
        -- The log was longer when they were listed.
        DELETE FROM stream_partitions WHERE partition >= v_head / c_width;
        RETURN 0;
    END IF;
    IF v_next = v_head / c_width OR NOT EXISTS (
        SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'events'::regclass AND substring(c.relname FROM '[0-9]+$')::bigint = v_next
    ) THEN
        RETURN 0;
    END IF;
    INSERT INTO stream_partitions (stream_id, partition, last_version)
    SELECT e.stream_id, v_next, e.last_version
    FROM (SELECT stream_id, max(stream_version) AS last_version FROM events
          WHERE position >= v_next * c_width AND position < (v_next + 1) * c_width GROUP BY stream_id) AS e
    JOIN streams AS s USING (stream_id) WHERE s.since_position + 1 < v_next * c_width
    UNION ALL SELECT '', v_next, 0
    ON CONFLICT (stream_id, partition) DO UPDATE SET last_version = excluded.last_version;
    RETURN 1;
END $$;

-- A stream's events after a version (NULL: from the first), in order of version; at most so many, or all (NULL).
--
-- Looks into the partition in which the stream begins, those full ones that are listed for it, and all that are not listed. The plan names
-- every partition; only those are set up that the bounds leave, since these are parameters and not results of the same statement. Both
-- bounds stand inside the partitions that are meant: behind 4999999 there could be more in the first one, for all that Postgres knows.
CREATE FUNCTION stream_events(p_stream_id text, p_after bigint, p_limit bigint) RETURNS SETOF events
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    c_width      CONSTANT bigint := 5000000;
    v_begin      bigint; -- no event of the stream stands before it
    v_unlisted   bigint; -- from here on no partition is listed
    v_partitions bigint[];
    v_partition  bigint;
    v_from       bigint;
    v_to         bigint;
    v_found      bigint;
BEGIN
    SELECT s.since_position + 1, (SELECT coalesce(max(p.partition) + 1, 0) * c_width FROM stream_partitions AS p WHERE p.stream_id = '')
    INTO v_begin, v_unlisted FROM streams AS s WHERE s.stream_id = p_stream_id;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    p_after := coalesce(p_after, 0);
    v_partitions := ARRAY[v_begin / c_width];
    IF v_begin < v_unlisted THEN
        v_partitions := v_partitions || ARRAY(
            SELECT p.partition FROM stream_partitions AS p
            WHERE p.stream_id = p_stream_id AND p.partition > v_begin / c_width AND p.partition < v_unlisted / c_width
              AND p.last_version > p_after ORDER BY p.partition
        ) || v_unlisted / c_width;
    END IF;
    FOREACH v_partition IN ARRAY v_partitions LOOP
        v_from := greatest(v_begin, v_partition * c_width);
        v_to := CASE WHEN v_from < v_unlisted THEN (v_partition + 1) * c_width - 1 ELSE 9223372036854775807 END;
        RETURN QUERY SELECT e.* FROM events AS e
            WHERE e.stream_id = p_stream_id AND e.stream_version > p_after AND e.position >= v_from AND e.position <= v_to
            ORDER BY e.stream_version LIMIT p_limit;
        GET DIAGNOSTICS v_found = ROW_COUNT;
        p_limit := p_limit - v_found;
        EXIT WHEN p_limit = 0;
    END LOOP;
END $$;

REVOKE ALL ON FUNCTION list_full_partition, stream_events FROM PUBLIC;
GRANT EXECUTE ON FUNCTION list_full_partition, stream_events TO waybill_service;
GRANT SELECT ON stream_partitions TO waybill_service;
