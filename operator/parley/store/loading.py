"""The one query that planning reads: a task's rows as of one moment, without anything large."""

# One value, so one round trip and one moment; requests, items, logs and long outputs are left out. A step with items
# that has ended keeps its counts and its newest attempts only: 64 of 1,000 items would be a plan's 64,000 rows.
# So with a call that is answered: of its containers only those that may still have to be stopped.
# While nobody ticks, store or operator were away: a lease that nobody could keep then has not lapsed.
# An attempt that waits for a child does not run while its task is suspended, so its deadline moves on with the clock.
LOAD_TASK = """
SELECT json_build_object(
  'uid', t.uid, 'cluster', t.cluster, 'namespace', t.namespace, 'name', t.name, 'session_uid', t.session_uid,
  'created_at', t.created_at, 'registered_at', t.registered_at, 'deadline', t.deadline,
  'suspended_since', t.suspended_since, 'gone_since', t.gone_since, 'now', now(),
  'depth', t.depth,
  'ended', CASE WHEN t.ended_at IS NOT NULL THEN json_build_object(
    'phase', t.end_phase, 'reason', t.end_reason, 'message', t.end_message, 'at', t.ended_at,
    'output', json_build_object(
      'value', CASE WHEN size.of_output <= 8192 THEN t.output
                    WHEN json_typeof(t.output) = 'string' THEN to_json(left(t.output #>> '{}', 8000)) END,
      'cut', coalesce(size.of_output > 8192, false))) END,
  'steps', (
    SELECT coalesce(json_agg(s ORDER BY s.entered_at, s.step), '[]')
    FROM (SELECT step, state, item_count, succeeded, failed, until, reason, message, entered_at, ended_at
          FROM steps WHERE task_uid = t.uid) s),
  'attempts', (
    SELECT coalesce(json_agg(a ORDER BY a.id), '[]')
    FROM (SELECT a.id, a.step, a.item, a.number, a.cause, a.job, a.index, a.state, a.holder,
                 CASE WHEN a.child AND a.ended_at IS NULL
                      THEN a.deadline + (now() - coalesce(t.suspended_since, now())) ELSE a.deadline END AS deadline,
                 a.lease_until + away.gap AS lease_until, a.reason, a.message, a.definite, a.retry_after, a.exit_code,
                 a.pod_uid,
                 a.input_tokens, a.output_tokens, a.created_at, a.taken_at, a.ended_at, a.runtime, a.pool,
                 a.state = 'Open' AND EXISTS (SELECT FROM uploads u WHERE u.attempt = a.id) AS uploaded
          FROM attempts a
          WHERE a.task_uid = t.uid
            AND NOT EXISTS (SELECT FROM steps s WHERE s.task_uid = t.uid AND s.step = a.step
                              AND s.ended_at IS NOT NULL AND s.item_count IS NOT NULL)
            AND NOT (a.state IN ('Succeeded', 'Failed') AND position('--' IN a.step) > 0
                     AND right(a.step, 14) IN (
                       SELECT '--' || left(encode(sha256(convert_to(w.id::text, 'UTF8')), 'hex'), 12)
                       FROM waits w
                       WHERE w.task_uid = %(uid)s AND w.kind = 'Container' AND w.state <> 'Open'))
          UNION ALL
          SELECT n.* FROM steps s CROSS JOIN LATERAL (
            SELECT id, step, item, number, cause, job, index, state, holder, deadline, lease_until, reason, message,
                   definite, retry_after, exit_code, pod_uid, input_tokens, output_tokens, created_at, taken_at,
                   ended_at, runtime, pool, false
            FROM attempts WHERE task_uid = t.uid AND step = s.step ORDER BY id DESC LIMIT 3) n
          WHERE s.task_uid = t.uid AND s.ended_at IS NOT NULL AND s.item_count IS NOT NULL) a),
  'outputs', (
    SELECT coalesce(json_object_agg(o.step, json_build_object(
      'value', CASE WHEN o.cut THEN o.shown
                    WHEN NOT o.cut OR octet_length(o.value::text) <= 2048 THEN o.value
                    WHEN json_typeof(o.value) = 'string' THEN to_json(left(o.value #>> '{}', 2000)) END,
      'cut', coalesce(o.cut, octet_length(o.value::text) > 2048))), '{}')
    FROM outputs o WHERE o.task_uid = t.uid AND o.item = -1),
  'turns', (
    SELECT coalesce(json_agg(u ORDER BY u.ticket), '[]')
    FROM (SELECT h.session_uid, h.ticket, h.task_uid, h.task_name, h.step, h.state, h.granted_at, h.ended_at,
                 h.state = 'Held' AND coalesce((SELECT a.state = 'Paused' FROM attempts a
                                                WHERE a.session_uid = h.session_uid AND a.ticket = h.ticket
                                                ORDER BY a.id DESC LIMIT 1), false) AS paused
          FROM turns h WHERE h.task_uid = t.uid) u),
  'waits', (
    SELECT coalesce(json_agg(w ORDER BY w.created_at, w.item, w.round, w.call, w.id), '[]')
    FROM (SELECT id, step, item, kind, deadline, state, created_at, round, call,
                 CASE WHEN kind = 'Question' OR octet_length((body -> 'arguments')::text) <= 2048 THEN body
                      ELSE json_build_object(
                        'tool', body -> 'tool', 'arguments', left((body -> 'arguments')::text, 2048),
                        'question', body -> 'question', 'choices', body -> 'choices',
                        'onTimeout', body -> 'onTimeout', 'timeoutSeconds', body -> 'timeoutSeconds',
                        'outputFrom', body -> 'outputFrom') END AS body
          FROM waits WHERE task_uid = t.uid AND state = 'Open') w),
  'children', (
    SELECT coalesce(json_agg(c ORDER BY c.name), '[]')
    FROM (SELECT DISTINCT ON (c.parent_attempt) c.name, c.uid, c.end_phase AS ended, c.end_reason AS reason,
                 c.end_message AS message, c.gone_since IS NOT NULL AS gone
          FROM attempts a JOIN tasks c ON c.parent_uid = t.uid AND c.parent_attempt = a.id
          WHERE a.task_uid = t.uid AND a.child AND a.state = 'Open'
          ORDER BY c.parent_attempt, c.registered_at, c.uid) c),
  'parent', CASE WHEN t.parent_uid IS NOT NULL THEN (
    SELECT json_build_object(
      'uid', t.parent_uid, 'name', coalesce(p.name, ''), 'suspended', p.suspended_since IS NOT NULL,
      'closed', CASE
        WHEN p.uid IS NULL OR a.id IS NULL THEN 'its parent task is gone from the store'
        WHEN p.gone_since IS NOT NULL THEN format('its parent task %%s was deleted', p.name)
        WHEN p.ended_at IS NOT NULL THEN format('its parent task %%s has ended: %%s', p.name, p.end_reason)
        WHEN a.ended_at IS NOT NULL
          THEN format('step %%s of its parent task %%s was closed: %%s',
                      a.step, p.name, coalesce(a.reason, a.state)) END)
    FROM (SELECT) one
    LEFT JOIN tasks p ON p.uid = t.parent_uid
    LEFT JOIN attempts a ON a.id = t.parent_attempt AND a.task_uid = t.parent_uid) END,
  'session', (
    SELECT json_build_object('state', s.state, 'since', s.state_since,
                             'messages', s.messages - (
                               SELECT count(*) FROM turns u JOIN posts m USING (session_uid, ticket)
                               WHERE u.session_uid = s.uid AND u.state = 'Waiting'),
                             'cleared_through', s.cleared_through, 'restored_from', s.restored_from)
    FROM sessions s WHERE s.uid = t.session_uid),
  'input_tokens', used.input_tokens, 'output_tokens', used.output_tokens
)::text AS task
FROM tasks t
CROSS JOIN LATERAL (SELECT coalesce(sum(input_tokens), 0) AS input_tokens,
                           coalesce(sum(output_tokens), 0) AS output_tokens
                    FROM attempts WHERE task_uid = t.uid) used
CROSS JOIN LATERAL (SELECT octet_length(t.output::text) AS of_output) size
CROSS JOIN LATERAL (SELECT coalesce((SELECT now() - l.tick FROM leader l
                                     WHERE l.cluster = t.cluster AND l.install = t.install
                                       AND l.tick < now() - interval '10 s'), interval '0') AS gap) away
WHERE t.uid = %(uid)s
"""
