"""What the version before the second migration says to the database, word for word: it overlaps with this one."""

LOCK_LEADER = """
SELECT now() - tick AS since_tick FROM leader WHERE cluster = %(cluster)s AND install = %(install)s FOR KEY SHARE
"""
LOCK_TASK = "SELECT uid FROM tasks WHERE uid = %(task_uid)s FOR NO KEY UPDATE"
SHARE_TASK = (
    "SELECT name, session_uid, gone_since, ended_at, end_reason FROM tasks WHERE uid = %(task_uid)s FOR SHARE"
)
LOCK_ATTEMPT = """
SELECT id, holder FROM attempts WHERE task_uid = %(task_uid)s AND step = %(step)s FOR NO KEY UPDATE
"""
REGISTER_SESSION = """
INSERT INTO sessions AS s (uid, cluster, install, namespace, name)
VALUES (%(session_uid)s, %(cluster)s, %(install)s, 'default', 'alice')
ON CONFLICT (uid) DO UPDATE SET install = excluded.install WHERE s.install <> excluded.install
"""
REGISTER_TASK = """
INSERT INTO tasks AS t (uid, cluster, install, namespace, name, session_uid, spec, created_at, deadline)
VALUES (%(task_uid)s, %(cluster)s, %(install)s, 'default', 'refund', %(session_uid)s, '{"message": "Hello"}'::json,
        now(), now() + '1 h'::interval)
ON CONFLICT (uid) DO UPDATE SET
  install = excluded.install,
  session_uid = CASE WHEN EXISTS (SELECT FROM attempts a WHERE a.task_uid = t.uid) THEN t.session_uid
                     ELSE excluded.session_uid END
WHERE t.ended_at IS NULL AND t.gone_since IS NULL
  AND (t.install, t.session_uid) IS DISTINCT FROM (excluded.install, excluded.session_uid)
"""
INSERT_ATTEMPT = """
INSERT INTO attempts (task_uid, step, item, number, cause, job, index, session_uid, ticket, request, deadline,
                      state, reason, message, ended_at)
SELECT %(task_uid)s, %(step)s, -1, 1, 'First', %(task_uid)s || %(step)s, 0, NULL, NULL,
       '{"kind": "Container"}'::json, now() + '1 min'::interval, 'Open', NULL, NULL, NULL
WHERE 1 = 1 + coalesce((SELECT max(number) FROM attempts
                        WHERE task_uid = %(task_uid)s AND step = %(step)s AND item = -1), 0)
ON CONFLICT DO NOTHING
RETURNING id, deadline, ticket
"""
TAKE = """
UPDATE attempts SET state = 'Running', holder = 'pod/1', taken_at = now()
WHERE task_uid = %(task_uid)s AND step = %(step)s
"""
STORE_OUTPUT = """
INSERT INTO outputs (task_uid, step, item, value) VALUES (%(task_uid)s, %(step)s, -1, %(output)s::json)
"""
CLOSE = """
UPDATE attempts SET state = 'Succeeded', reason = NULL, message = '', definite = false, retry_after = NULL,
       answer = '{}'::json, ended_at = now()
WHERE task_uid = %(task_uid)s AND step = %(step)s
"""
STORE_WAIT = """
INSERT INTO waits (id, task_uid, step, item, round, call, kind, body)
VALUES (%(wait)s, %(task_uid)s, %(step)s, -1, 0, 0, 'Approval', '{"tool": "t"}'::json)
ON CONFLICT (id) DO NOTHING
"""
LOAD = """
SELECT json_build_object(
  'uid', t.uid, 'session_uid', t.session_uid, 'deadline', t.deadline, 'suspended_since', t.suspended_since,
  'ended', CASE WHEN t.ended_at IS NOT NULL THEN json_build_object('phase', t.end_phase, 'output', t.output) END,
  'attempts', (
    SELECT coalesce(json_agg(a ORDER BY a.id), '[]')
    FROM (SELECT id, step, item, number, cause, job, index, state, holder, deadline, lease_until, reason, message,
                 definite, retry_after, exit_code, pod_uid, input_tokens, output_tokens, created_at, taken_at, ended_at
          FROM attempts WHERE task_uid = t.uid) a),
  'outputs', (
    SELECT coalesce(json_object_agg(o.step, o.value), '{}') FROM outputs o WHERE o.task_uid = t.uid AND o.item = -1)
)::text
FROM tasks t WHERE t.uid = %(task_uid)s
"""
SUMMARY = """
SELECT json_build_object('last_sequence', s.last_sequence, 'messages', s.messages)::text
FROM sessions s WHERE s.uid = %(session_uid)s
"""
MOVE_WAITS = """
UPDATE waits w SET deadline = w.deadline + '1 min'::interval
FROM tasks t WHERE w.state = 'Open' AND t.uid = w.task_uid AND t.suspended_since IS NULL
"""
END = """
UPDATE tasks SET ended_at = now(), end_phase = 'Succeeded', end_reason = 'Succeeded', end_message = '',
                 output = %(output)s::json
WHERE uid = %(task_uid)s AND ended_at IS NULL AND gone_since IS NULL
"""
RUN = (
    (LOCK_LEADER, REGISTER_SESSION),
    (LOCK_LEADER, REGISTER_TASK),
    (LOCK_LEADER, LOCK_TASK, INSERT_ATTEMPT),
    (SHARE_TASK, LOCK_ATTEMPT, TAKE),
    (SHARE_TASK, LOCK_ATTEMPT, STORE_OUTPUT, CLOSE, STORE_WAIT),
)
"""A task's transactions from its registration to a committed step, with another that waits."""
