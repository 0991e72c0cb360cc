"""What the version before the third migration says to what that changes, word for word: it overlaps with this one."""

REGISTER_TASK = """
WITH family AS (
  SELECT p.uid AS parent_uid, a.id AS parent_attempt, coalesce(p.root_uid, p.uid) AS root_uid, p.depth + 1 AS depth
  FROM tasks p JOIN attempts a ON a.task_uid = p.uid AND a.child AND a.job = %(name)s
  WHERE p.uid = %(parent_uid)s AND p.cluster = %(cluster)s AND p.namespace = 'default'
    AND a.id = coalesce(NULL::bigint, a.id)
)
INSERT INTO tasks AS t (uid, cluster, install, namespace, name, session_uid, spec, created_at, deadline,
                        parent_uid, parent_attempt, root_uid, depth)
SELECT %(task_uid)s, %(cluster)s, %(install)s, 'default', %(name)s, %(session_uid)s, '{"message": "Hello"}'::json,
       now(), now() + '1 h'::interval,
       f.parent_uid, f.parent_attempt, f.root_uid, coalesce(f.depth, 0)
FROM (SELECT) one LEFT JOIN family f ON true
ON CONFLICT (uid) DO UPDATE SET
  install = excluded.install,
  session_uid = CASE WHEN EXISTS (SELECT FROM attempts a WHERE a.task_uid = t.uid)
                       OR EXISTS (SELECT FROM steps s WHERE s.task_uid = t.uid) THEN t.session_uid
                     ELSE excluded.session_uid END,
  spec = CASE WHEN EXISTS (SELECT FROM attempts a WHERE a.task_uid = t.uid)
                OR EXISTS (SELECT FROM steps s WHERE s.task_uid = t.uid) THEN t.spec
              ELSE excluded.spec END
WHERE t.ended_at IS NULL AND t.gone_since IS NULL
  AND (t.install, t.session_uid, t.spec::text)
    IS DISTINCT FROM (excluded.install, excluded.session_uid, excluded.spec::text)
"""
INSERT_CHILD = """
INSERT INTO attempts (task_uid, step, item, number, cause, job, index, session_uid, ticket, request, deadline,
                      runtime, child, run_timeout, state, reason, message, ended_at)
SELECT %(parent_uid)s, 'children', -1, 1, 'First', %(name)s, 0, NULL, NULL, '{"kind": "Task"}'::json,
       now() + '1 min'::interval, 'Job', true, NULL, 'Open', NULL, NULL, NULL
"""
COUNT_TREE = """
SELECT 1 + count(*) FROM tasks t JOIN attempts a ON a.task_uid = t.uid AND a.child
WHERE t.uid = %(parent_uid)s OR t.root_uid = %(parent_uid)s
"""
RESERVE = """
UPDATE sessions SET last_sequence = last_sequence + 1, messages = messages + 1 WHERE uid = %(session_uid)s
RETURNING last_sequence - 1
"""
INSERT_EVENT = """
INSERT INTO events (session_uid, sequence, id, type, role, content, task_uid, task, step, item, attempt, ticket)
SELECT %(session_uid)s, 0 + nth, id::uuid, type, role, content::json,
       %(task_uid)s, %(name)s, 'reply', -1, 1, NULL
FROM unnest(ARRAY[%(wait)s]::text[], ARRAY['message'], ARRAY['user'], ARRAY['"Hello"'])
  WITH ORDINALITY AS draft (id, type, role, content, nth)
ORDER BY nth
"""
ASK = """
INSERT INTO waits (id, task_uid, step, kind, body, deadline)
VALUES (%(wait)s, %(task_uid)s, 'confirm', 'Question', '{"question": "Refund?"}'::json, now() + NULL::interval)
"""
STORE_WAIT = """
INSERT INTO waits (id, task_uid, step, item, round, call, kind, body)
VALUES (gen_random_uuid(), %(task_uid)s, 'reply', -1, 0, 0, 'Approval', '{"tool": "t", "arguments": {}}'::json)
ON CONFLICT (id) DO NOTHING
"""
EXPIRE = """
UPDATE waits SET state = 'Expired', ended_at = now() WHERE id = %(wait)s
"""
GONE = "UPDATE tasks SET gone_since = now() WHERE uid = %(task_uid)s AND gone_since IS NULL RETURNING uid"
RUN = (REGISTER_TASK, RESERVE, INSERT_EVENT, ASK, STORE_WAIT, EXPIRE)
