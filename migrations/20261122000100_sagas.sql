-- What the saga engine and the relay keep beside the log. All of it but the dead letters can be derived from the log again.
-- Expand step: nothing reads it yet.
SET LOCAL lock_timeout = '5s';

-- A projection of the saga streams: what each saga waits for, written in the transaction that moves the engine's checkpoint.
CREATE TABLE saga_deadlines (
    saga             text        NOT NULL, -- 'order_fulfilment'
    order_id         uuid        NOT NULL,
    step             text        NOT NULL,
    direction        text        NOT NULL, -- 'forward' or 'undo'
    due_at           timestamptz, -- when somebody has to look; null: it is only waited for, and a person was told
    intent_position  bigint      NOT NULL, -- of the event that holds the command: a wiped broker gets it once more
    CONSTRAINT saga_deadlines_pkey PRIMARY KEY (saga, order_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX saga_deadlines_by_due ON saga_deadlines (saga, due_at);

-- Sagas that made the engine fail: the facts from that position on are left for later, in their order.
CREATE TABLE quarantined_sagas (
    saga         text        NOT NULL,
    order_id     uuid        NOT NULL,
    position     bigint      NOT NULL, -- the first fact that was not taken
    reason       text        NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT quarantined_sagas_pkey PRIMARY KEY (saga, order_id)
);

-- Who runs what there may be only one of. Judged by the database's clock; what it guards is fenced besides.
CREATE TABLE leases (
    name        text        NOT NULL PRIMARY KEY,
    owner       uuid        NOT NULL,
    expires_at  timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Messages that a participant could not read, drained from the broker.
CREATE TABLE dead_letters (
    id           uuid        NOT NULL PRIMARY KEY,
    received_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    queue        text        NOT NULL, -- where it was when it died
    reason       text        NOT NULL, -- the broker's word: rejected, delivery_limit, maxlen, expired
    headers      json        NOT NULL,
    body         bytea       NOT NULL,
    state        text        NOT NULL DEFAULT 'waiting', -- then 'requeue' (the relay sends it again), then 'replayed'
    changed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT dead_letters_state CHECK (state IN ('waiting', 'requeue', 'replayed'))
);
CREATE INDEX dead_letters_by_state ON dead_letters (state, received_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON saga_deadlines, quarantined_sagas, leases, dead_letters TO waybill_service;
