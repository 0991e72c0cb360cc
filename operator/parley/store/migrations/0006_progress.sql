-- What is worth a look at once, and what may wait a moment: a turn is registered, begun and taken within milliseconds,
-- and a look at each costs those who wait for its answer. Streams at a gateway of the version before tell of progress
-- with what is said next, or within 15 s, as they do of notices that were lost.

-- In the order in which transactions take them, the leader's first: so nobody holds one and waits for another.
LOCK TABLE leader, sessions, tasks, turns, attempts, waits IN ACCESS EXCLUSIVE MODE;

CREATE FUNCTION tell_progress_of_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('parley_progress', NEW.session_uid);
  RETURN NULL;
END $$;
CREATE FUNCTION tell_progress_of_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('parley_progress', session_uid) FROM tasks WHERE uid = NEW.task_uid AND session_uid IS NOT NULL;
  RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER tell_of_new AFTER INSERT ON tasks
  FOR EACH ROW WHEN (NEW.session_uid IS NOT NULL) EXECUTE FUNCTION tell_progress_of_task();
CREATE OR REPLACE TRIGGER tell_of_new AFTER INSERT ON attempts FOR EACH ROW EXECUTE FUNCTION tell_progress_of_step();
CREATE OR REPLACE TRIGGER tell_of_change AFTER UPDATE ON attempts
  FOR EACH ROW WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION tell_progress_of_step();
