-- How sessions live, and what is kept of them. Only adds: the version before reads and writes its rows as ever.

-- In the order in which transactions take them, the leader's first: so nobody holds one and waits for another.
LOCK TABLE leader, sessions, tasks, turns, attempts, steps, replies, events IN ACCESS EXCLUSIVE MODE;

-- retention: {transcript, afterSeconds}, as the Session says it; NULL in rows older than this. clear_asked: the request
-- that was done last. cleared_through: contents up to this sequence are erased; cleared_until: the time it stands for.
ALTER TABLE sessions
  ADD state           text NOT NULL DEFAULT 'Active'
    CHECK (state IN ('Active', 'Dormant', 'Paused', 'Expired', 'Ended', 'Archived')),
  ADD state_since     timestamptz NOT NULL DEFAULT now(),
  ADD state_why       text,
  ADD active_at       timestamptz NOT NULL DEFAULT now(),
  ADD retention       json,
  ADD clear_asked     bigint NOT NULL DEFAULT 0,
  ADD cleared_through bigint NOT NULL DEFAULT 0,
  ADD cleared_until   timestamptz,
  ADD restored_from   text,
  ADD CHECK (cleared_through BETWEEN 0 AND last_sequence AND (cleared_through > 0) <= (cleared_until IS NOT NULL));
CREATE INDEX sessions_gone ON sessions (cluster, gone_since) WHERE gone_since IS NOT NULL;
CREATE INDEX sessions_restored ON sessions (restored_from) WHERE restored_from IS NOT NULL;

-- By a trigger, since the version before speaks in sessions too. A change of state writes an event as well, and then
-- puts the time back: falling asleep is no sign of life.
CREATE FUNCTION mark_activity() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.active_at := now();
  RETURN NEW;
END $$;
CREATE TRIGGER mark_activity BEFORE UPDATE ON sessions
  FOR EACH ROW WHEN (NEW.last_sequence > OLD.last_sequence OR NEW.last_ticket > OLD.last_ticket)
  EXECUTE FUNCTION mark_activity();

-- erased_at: nothing is left of what was said in it, or made of that.
ALTER TABLE tasks ADD erased_at timestamptz;
CREATE INDEX tasks_gone ON tasks (cluster, gone_since) WHERE gone_since IS NOT NULL;
CREATE INDEX replies_by_task ON replies (task_uid) WHERE task_uid IS NOT NULL;
CREATE INDEX replies_by_wait ON replies (wait_id) WHERE wait_id IS NOT NULL;

-- What stands may change in one case: a transaction that erases, or hands a transcript on, says so.
CREATE FUNCTION rewriting() RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT coalesce(current_setting('parley.rewriting', true), '') = 'on'
$$;
DROP TRIGGER keep_end ON tasks;
CREATE TRIGGER keep_end BEFORE UPDATE ON tasks
  FOR EACH ROW WHEN (((OLD.ended_at IS NOT NULL
                       AND (NEW.ended_at, NEW.end_phase, NEW.end_reason, NEW.end_message, NEW.output::text)
                         IS DISTINCT FROM (OLD.ended_at, OLD.end_phase, OLD.end_reason, OLD.end_message, OLD.output::text))
                      OR (OLD.gone_since IS NOT NULL AND NEW.gone_since IS DISTINCT FROM OLD.gone_since))
                     AND NOT rewriting())
  EXECUTE FUNCTION refuse_change('the first end of a task stands, and what is gone stays gone');
DROP TRIGGER keep_end ON turns;
CREATE TRIGGER keep_end BEFORE UPDATE ON turns
  FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL AND NOT rewriting())
  EXECUTE FUNCTION refuse_change('an ended turn never changes');
DROP TRIGGER keep_end ON attempts;
CREATE TRIGGER keep_end BEFORE UPDATE ON attempts
  FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL AND NOT rewriting())
  EXECUTE FUNCTION refuse_change('an ended attempt never changes');
DROP TRIGGER keep_request ON attempts;
CREATE TRIGGER keep_request BEFORE UPDATE ON attempts
  FOR EACH ROW WHEN (((NEW.task_uid, NEW.step, NEW.item, NEW.number) <> (OLD.task_uid, OLD.step, OLD.item, OLD.number)
                      OR NEW.request::text <> OLD.request::text
                      OR NEW.holder IS DISTINCT FROM coalesce(OLD.holder, NEW.holder))
                     AND NOT rewriting())
  EXECUTE FUNCTION refuse_change('what an attempt runs and who holds it never changes');
DROP TRIGGER keep_end ON steps;
CREATE TRIGGER keep_end BEFORE UPDATE ON steps
  FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL AND NOT rewriting())
  EXECUTE FUNCTION refuse_change('what was decided about a step stands');
DROP TRIGGER keep_place ON events;
CREATE TRIGGER keep_place BEFORE UPDATE ON events
  FOR EACH ROW WHEN ((NEW.session_uid, NEW.sequence, NEW.id) <> (OLD.session_uid, OLD.sequence, OLD.id)
                     AND NOT rewriting())
  EXECUTE FUNCTION refuse_change('an event keeps its place');
