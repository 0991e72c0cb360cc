-- Steps that are decided without a Job, waiting people, children, schedules and files. Only adds: the version before
-- reads and writes its rows as ever.

-- In the order in which transactions take them, the leader's first: so nobody holds one and waits for another.
LOCK TABLE leader, sessions, tasks, attempts IN ACCESS EXCLUSIVE MODE;

ALTER TABLE sessions ADD context json, ADD context_version bigint NOT NULL DEFAULT 0;

-- parent_attempt is the attempt of a task step whose job is this task's name; root_uid is NULL for a task without a
-- parent. No foreign keys: a child's rows may outlive its parent's, and the other way round.
ALTER TABLE tasks
  ADD parent_uid     text,
  ADD parent_attempt bigint,
  ADD root_uid       text,
  ADD depth          int NOT NULL DEFAULT 0,
  ADD CONSTRAINT tasks_family CHECK (num_nonnulls(parent_uid, parent_attempt, root_uid) IN (0, 3)
                                     AND (parent_uid IS NULL) = (depth = 0));
CREATE INDEX tasks_by_parent ON tasks (parent_uid) WHERE parent_uid IS NOT NULL;
CREATE INDEX tasks_by_root ON tasks (root_uid) WHERE root_uid IS NOT NULL;

-- run_timeout counts from take, within the deadline: the items of a round wait for each other. child: the job is a
-- Task. log: the end of what a container wrote.
ALTER TABLE attempts
  ADD runtime     text NOT NULL DEFAULT 'Job' CHECK (runtime IN ('Job', 'Task', 'Warm')),
  ADD child       boolean NOT NULL DEFAULT false,
  ADD run_timeout interval,
  ADD log         text;
CREATE INDEX attempts_children ON attempts (task_uid) WHERE child;
CREATE INDEX attempts_to_serve ON attempts (task_uid, id) WHERE state = 'Open' AND runtime <> 'Job';

-- What was decided about a step before any attempt: skipped, its items, when its sleep is over, whom it asks. until
-- stands still while nothing else does: it is a time of day, not a patience.
CREATE TABLE steps (
  task_uid   text NOT NULL REFERENCES tasks ON DELETE CASCADE,
  step       text NOT NULL,
  state      text NOT NULL DEFAULT 'Entered' CHECK (state IN ('Entered', 'Succeeded', 'Failed', 'Skipped')),
  items      json,
  item_count int CHECK (item_count >= 0),
  succeeded  int,
  failed     int,
  until      timestamptz,
  reason     text,
  message    text,
  entered_at timestamptz NOT NULL DEFAULT now(),
  ended_at   timestamptz,
  PRIMARY KEY (task_uid, step),
  CHECK ((items IS NULL) = (item_count IS NULL)),
  CHECK ((state = 'Entered') = (ended_at IS NULL)),
  CHECK (state NOT IN ('Failed', 'Skipped') OR (reason IS NOT NULL AND message IS NOT NULL)),
  CHECK (succeeded + failed <= item_count)
);
CREATE TRIGGER keep_end BEFORE UPDATE ON steps
  FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL) EXECUTE FUNCTION refuse_change('what was decided about a step stands');

-- A container's output file, or why there is none, until its outcome is committed.
CREATE TABLE uploads (
  attempt bigint PRIMARY KEY REFERENCES attempts ON DELETE CASCADE,
  value   json,
  reason  text,
  problem text,
  at      timestamptz NOT NULL DEFAULT now(),
  CHECK (num_nonnulls(value, problem) = 1 AND (reason IS NULL) = (problem IS NULL))
);

-- The times of schedules that were taken. made_at: the Task was seen to exist.
CREATE TABLE slots (
  schedule_uid text NOT NULL,
  slot         text NOT NULL,
  task_name    text NOT NULL,
  at           timestamptz NOT NULL DEFAULT now(),
  made_at      timestamptz,
  PRIMARY KEY (schedule_uid, slot)
);

-- A plan reads no large values: cut says that value is over 2 KiB, shown is then the beginning of a text. By a trigger,
-- since the version before writes outputs too; NULL in rows older than this.
ALTER TABLE outputs ADD cut boolean, ADD shown json;
CREATE FUNCTION show_output() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.cut := octet_length(NEW.value::text) > 2048;
  NEW.shown := CASE WHEN NEW.cut AND json_typeof(NEW.value) = 'string'
                    THEN to_json(left(NEW.value #>> '{}', 2000)) END;
  RETURN NEW;
END $$;
CREATE TRIGGER show_value BEFORE INSERT OR UPDATE ON outputs FOR EACH ROW EXECUTE FUNCTION show_output();

-- A refused reply may name no wait at all. verdict: what its author is told.
ALTER TABLE replies ALTER wait_id DROP NOT NULL, ADD task_uid text REFERENCES tasks ON DELETE CASCADE, ADD verdict text,
  ADD CHECK (wait_id IS NOT NULL OR NOT accepted);
CREATE INDEX waits_open ON waits (task_uid) WHERE state = 'Open';
