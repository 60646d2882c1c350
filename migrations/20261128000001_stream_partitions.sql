-- In which of the full partitions a stream has events, so that a load touches only those. Expand step: who does not know of it reads as
-- before.
SET LOCAL lock_timeout = '5s';

CREATE TABLE stream_partitions (
    stream_id       text     NOT NULL COLLATE "C",
    partition       integer  NOT NULL, -- the number in its name
    last_version    bigint   NOT NULL, -- of the stream's events in it
    CONSTRAINT stream_partitions_pkey PRIMARY KEY (stream_id, partition)
);

-- How far stream_partitions goes.
CREATE TABLE partitions_listed (
    partitions      integer  NOT NULL, -- those before this number are listed
    last_stream     text     NOT NULL COLLATE "C" -- of this one, the streams up to here
);
INSERT INTO partitions_listed (partitions, last_stream) VALUES (0, '');

-- Lists at most so many streams of the next full partition, in which nothing changes any more. Returns how many (1 where it only found
-- that there are no more), and 0 once all full ones are listed.
CREATE FUNCTION list_stream_partitions(p_limit integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '5s'
-- By the index on streams, from where the call before ended: else each call would go through the whole partition.
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET enable_sort = off SET enable_hashagg = off AS $$
DECLARE
    c_width  CONSTANT bigint := 5000000;
    v_next   partitions_listed;
    v_listed bigint;
    v_last   text;
BEGIN
    SELECT * INTO v_next FROM partitions_listed FOR UPDATE;
    IF coalesce((SELECT max(e.position) FROM events AS e), 0) < (v_next.partitions + 1) * c_width THEN
        RETURN 0;
    END IF;
    WITH listed AS (
        INSERT INTO stream_partitions (stream_id, partition, last_version)
        SELECT e.stream_id, v_next.partitions, max(e.stream_version) FROM events AS e
        WHERE e.position >= v_next.partitions * c_width AND e.position < (v_next.partitions + 1) * c_width
          AND e.stream_id > v_next.last_stream
        GROUP BY e.stream_id ORDER BY e.stream_id LIMIT p_limit
        RETURNING stream_id
    ) SELECT count(*), max(l.stream_id) INTO v_listed, v_last FROM listed AS l;
    IF v_listed < p_limit THEN
        UPDATE partitions_listed SET partitions = v_next.partitions + 1, last_stream = '';
    ELSE
        UPDATE partitions_listed SET last_stream = v_last;
    END IF;
    RETURN greatest(v_listed, 1);
END $$;

-- A stream's events after a version, in order; at most so many, or all (NULL).
--
-- Looks into the full partitions that are listed for the stream, and into all that are not listed yet. The plan names every partition;
-- only those are set up that the bounds leave, since these are parameters and not results of the same statement. Both bounds stand inside
-- the partitions that are meant: behind 4999999 there could be more in the first one, for all that Postgres knows.
CREATE FUNCTION stream_events(p_stream_id text, p_after bigint, p_limit bigint) RETURNS SETOF events
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    c_width      CONSTANT bigint := 5000000;
    v_since      bigint;
    v_listed     integer; -- the partitions before this number
    v_partitions integer[];
    v_partition  integer;
    v_from       bigint;
    v_to         bigint;
    v_found      bigint;
BEGIN
    SELECT s.since_position, l.partitions INTO v_since, v_listed
    FROM streams AS s CROSS JOIN partitions_listed AS l WHERE s.stream_id = p_stream_id;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF v_since + 1 < v_listed * c_width THEN
        v_partitions := ARRAY(SELECT p.partition FROM stream_partitions AS p
            WHERE p.stream_id = p_stream_id AND p.partition < v_listed AND p.last_version > p_after ORDER BY p.partition);
    END IF;
    FOREACH v_partition IN ARRAY v_partitions || NULL::integer LOOP -- NULL: all that are not listed
        v_from := coalesce(v_partition * c_width, greatest(v_since + 1, v_listed * c_width));
        v_to := coalesce((v_partition + 1) * c_width - 1, 9223372036854775807);
        RETURN QUERY SELECT e.* FROM events AS e
            WHERE e.stream_id = p_stream_id AND e.stream_version > p_after AND e.position >= v_from AND e.position <= v_to
            ORDER BY e.stream_version LIMIT p_limit;
        GET DIAGNOSTICS v_found = ROW_COUNT;
        p_limit := p_limit - v_found;
        EXIT WHEN p_limit = 0;
    END LOOP;
END $$;

REVOKE ALL ON FUNCTION list_stream_partitions, stream_events FROM PUBLIC;
GRANT EXECUTE ON FUNCTION list_stream_partitions, stream_events TO waybill_service;
GRANT SELECT ON stream_partitions, partitions_listed TO waybill_service;
