-- States of long streams, so that their owners need not fold them from the first event. Expand step: the previous release reads none.
SET LOCAL lock_timeout = '5s';

-- May be emptied at any time: whoever finds none starts from the events.
CREATE TABLE snapshots (
    stream_id      text        NOT NULL COLLATE "C",
    stream_version bigint      NOT NULL CHECK (stream_version >= 1),
    -- The event that led to the state: in a log that holds another one there, the state is of another history.
    position       bigint      NOT NULL CHECK (position >= 1),
    event_id       uuid        NOT NULL,
    state_version  smallint    NOT NULL, -- of the code that wrote it; code of another version does not read it
    state          json        NOT NULL,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream_id)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON snapshots TO waybill_service;
