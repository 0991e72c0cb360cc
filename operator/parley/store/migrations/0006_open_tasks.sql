-- Whoever reads a session along asks at each notice for its open tasks, among all it ever had.
LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE;
CREATE INDEX tasks_open_of_session ON tasks (session_uid)
  WHERE session_uid IS NOT NULL AND ended_at IS NULL AND gone_since IS NULL;
