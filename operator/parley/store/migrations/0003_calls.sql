-- Calls of tools: who may approve them, what they queue, what agents use. Only adds: the version before reads and
-- writes its rows as ever.

-- In the order in which transactions take them, the leader's first: so nobody holds one and waits for another.
LOCK TABLE leader, sessions, tasks, waits, events IN ACCESS EXCLUSIVE MODE;

-- Who said it: a person's or an agent's name.
ALTER TABLE events ADD speaker text;
CREATE INDEX events_summaries ON events (session_uid, sequence) WHERE type = 'summary';

-- A call that was approved may wait again, for its Job or its Task.
ALTER TABLE waits DROP CONSTRAINT waits_task_uid_step_item_round_call_key;
CREATE UNIQUE INDEX waits_one_each ON waits (task_uid, step, item, round, call, kind);

-- A task that a tool queued has a family, but no parent that waits for it.
ALTER TABLE tasks
  DROP CONSTRAINT tasks_family,
  ADD CONSTRAINT tasks_family CHECK (num_nonnulls(parent_uid, parent_attempt) IN (0, 2)
                                     AND (parent_uid IS NULL OR root_uid IS NOT NULL)
                                     AND (root_uid IS NULL) = (depth = 0));

-- Tasks that tools queue. session_uid hears of the end; task_uid: the Task was registered. No foreign key on it: its
-- rows may come later and go sooner.
CREATE TABLE queued_tasks (
  wait_id     uuid PRIMARY KEY REFERENCES waits ON DELETE CASCADE,
  cluster     text NOT NULL,
  namespace   text NOT NULL,
  name        text NOT NULL,
  session_uid text,
  queued_by   text NOT NULL,
  task_uid    text,
  at          timestamptz NOT NULL DEFAULT now(),
  told_at     timestamptz,
  UNIQUE (cluster, namespace, name),
  CHECK (told_at IS NULL OR task_uid IS NOT NULL)
);
CREATE INDEX queued_tasks_by_task ON queued_tasks (task_uid) WHERE task_uid IS NOT NULL;
CREATE INDEX queued_tasks_by_author ON queued_tasks (queued_by);
CREATE TRIGGER never_twice BEFORE UPDATE ON queued_tasks
  FOR EACH ROW WHEN (NEW.task_uid IS DISTINCT FROM coalesce(OLD.task_uid, NEW.task_uid)
                     OR NEW.told_at IS DISTINCT FROM coalesce(OLD.told_at, NEW.told_at))
  EXECUTE FUNCTION refuse_change('a queued task is one task, and its end is told once');

-- Tokens by the name of the agent that used them; day is UTC's.
CREATE TABLE agent_usage (
  cluster       text NOT NULL,
  namespace     text NOT NULL,
  agent         text NOT NULL,
  day           date NOT NULL,
  input_tokens  bigint NOT NULL DEFAULT 0,
  output_tokens bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (cluster, namespace, agent, day)
);
