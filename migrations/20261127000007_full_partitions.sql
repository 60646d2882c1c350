-- A partition that is full is frozen to its last row, and one that was taken away stays away. Expand step.
SET LOCAL lock_timeout = '5s';

-- As before, but behind the newest partition that there is: an older one that is missing was taken away by somebody.
CREATE OR REPLACE FUNCTION attach_event_partitions(p_position bigint) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    c_width CONSTANT bigint := 5000000;
    v_attached integer := 0;
    v_newest bigint;
    v_name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('attach_event_partitions'));
    SELECT coalesce(max(substring(c.relname FROM '[0-9]+$')::bigint), -1) INTO v_newest
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = 'events'::regclass;
    FOR n IN v_newest + 1 .. p_position / c_width + 1 LOOP
        v_name := format('events_p%s', lpad(n::text, 6, '0'));
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

-- Has autovacuum leave nothing for later in partitions that are full: while they are filled it comes every half a million rows, so that the last
-- of them waited for the day on which all transaction ids are used up. (What an old snapshot can still see at that moment waits for it all the
-- same.) One that is locked comes in its turn another time. Returns how many became so.
CREATE FUNCTION freeze_full_partitions() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    c_width CONSTANT bigint := 5000000;
    v_frozen integer := 0;
    v_head bigint;
    v_name text;
BEGIN
    SELECT coalesce(max(position), 0) INTO v_head FROM events;
    FOR v_name IN
        SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'events'::regclass AND substring(c.relname FROM '[0-9]+$')::bigint < v_head / c_width
          AND 'autovacuum_vacuum_insert_threshold=0' <> ALL (coalesce(c.reloptions, '{}'))
    LOOP
        BEGIN
            EXECUTE format('ALTER TABLE %I SET (autovacuum_vacuum_insert_threshold = 0)', v_name);
            v_frozen := v_frozen + 1;
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
    END LOOP;
    RETURN v_frozen;
END $$;

REVOKE ALL ON FUNCTION freeze_full_partitions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION freeze_full_partitions TO waybill_service;
