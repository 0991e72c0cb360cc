-- Messages posted at the gateway, warm runners, and notices for those who read along. Only adds: the version before
-- reads and writes its rows as ever.

-- In the order in which transactions take them, the leader's first: so nobody holds one and waits for another.
LOCK TABLE leader, sessions, tasks, turns, attempts, waits IN ACCESS EXCLUSIVE MODE;

-- A message by its idempotency key. task_name and ticket: of the turn it asks for; the ticket is the newest one of that
-- turn. body_hash is empty once the message is erased.
CREATE TABLE posts (
  session_uid text NOT NULL REFERENCES sessions ON DELETE CASCADE,
  key         text NOT NULL,
  body_hash   text NOT NULL,
  sequence    bigint NOT NULL,
  event_id    uuid NOT NULL,
  task_name   text,
  ticket      bigint,
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (session_uid, key),
  CHECK (task_name IS NULL OR ticket IS NOT NULL)
);
CREATE UNIQUE INDEX posts_one_task ON posts (session_uid, task_name) WHERE task_name IS NOT NULL;
CREATE INDEX posts_by_ticket ON posts (session_uid, ticket) WHERE ticket IS NOT NULL;
-- Those whose Task has not been seen yet.
CREATE INDEX turns_posted ON turns (created_at) WHERE task_uid IS NULL AND state = 'Waiting';

-- What other requests of people with a key were answered. scope: the caller and what is asked.
CREATE TABLE idempotency (
  scope     text NOT NULL,
  key       text NOT NULL,
  body_hash text NOT NULL,
  answer    json NOT NULL,
  at        timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_by_age ON idempotency (at);

-- pool: the warm runners that may take it.
ALTER TABLE attempts ADD pool text, ADD CONSTRAINT attempts_pool CHECK (pool IS NULL OR runtime = 'Warm');
CREATE INDEX attempts_in_pool ON attempts (pool, id) WHERE state = 'Open' AND runtime = 'Warm';
CREATE INDEX attempts_held_warm ON attempts (holder) WHERE state = 'Running' AND runtime = 'Warm';
-- Open ones, whose ended_at is NULL, are found by it too.
CREATE INDEX attempts_of_pool ON attempts (pool, ended_at) WHERE pool IS NOT NULL;

-- Gateways that somebody reads a session at. What is lost in a crash they write again.
CREATE UNLOGGED TABLE readers (
  session_uid text NOT NULL,
  gateway     text NOT NULL,
  until       timestamptz NOT NULL,
  PRIMARY KEY (session_uid, gateway)
);
CREATE INDEX readers_by_end ON readers (until);

-- Those who read along look when they hear the session's uid. By triggers, since the version before writes too. Several
-- notices of one transaction are one.
CREATE FUNCTION tell_readers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('parley_events', NEW.uid);
  RETURN NULL;
END $$;
CREATE TRIGGER tell_readers AFTER UPDATE ON sessions
  FOR EACH ROW WHEN (NEW.last_sequence > OLD.last_sequence
                     OR (OLD.gone_since IS NULL AND NEW.gone_since IS NOT NULL))
  EXECUTE FUNCTION tell_readers();
CREATE FUNCTION tell_readers_of_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('parley_events', NEW.session_uid);
  RETURN NULL;
END $$;
CREATE TRIGGER tell_of_new AFTER INSERT ON tasks
  FOR EACH ROW WHEN (NEW.session_uid IS NOT NULL) EXECUTE FUNCTION tell_readers_of_task();
CREATE TRIGGER tell_of_change AFTER UPDATE ON tasks
  FOR EACH ROW WHEN (NEW.session_uid IS NOT NULL
                     AND (NEW.ended_at, NEW.gone_since, NEW.suspended_since, NEW.session_uid)
                       IS DISTINCT FROM (OLD.ended_at, OLD.gone_since, OLD.suspended_since, OLD.session_uid))
  EXECUTE FUNCTION tell_readers_of_task();
CREATE FUNCTION tell_readers_of_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('parley_events', session_uid) FROM tasks WHERE uid = NEW.task_uid AND session_uid IS NOT NULL;
  RETURN NULL;
END $$;
CREATE TRIGGER tell_of_new AFTER INSERT ON attempts FOR EACH ROW EXECUTE FUNCTION tell_readers_of_step();
CREATE TRIGGER tell_of_change AFTER UPDATE ON attempts
  FOR EACH ROW WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION tell_readers_of_step();
CREATE TRIGGER tell_of_new AFTER INSERT ON waits FOR EACH ROW EXECUTE FUNCTION tell_readers_of_step();
CREATE TRIGGER tell_of_change AFTER UPDATE ON waits
  FOR EACH ROW WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION tell_readers_of_step();

-- Whoever reads a session along asks at each notice for its open tasks, among all it ever had.
CREATE INDEX tasks_open_of_session ON tasks (session_uid)
  WHERE session_uid IS NOT NULL AND ended_at IS NULL AND gone_since IS NULL;

-- A warm runner that waits takes it at once.
CREATE FUNCTION tell_pool() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('parley_pools', NEW.pool);
  RETURN NULL;
END $$;
CREATE TRIGGER tell_pool AFTER INSERT ON attempts
  FOR EACH ROW WHEN (NEW.pool IS NOT NULL AND NEW.state = 'Open') EXECUTE FUNCTION tell_pool();
