"""What holds of calls at every moment, as queries for what breaks it; ``%(s)s`` is the session."""

from parley.store.queued import TASK_ENDED

TOOLS = ["refund", "get_order", "ship", "scrap", "audit", "report", "tickets_find", "score"]
"""What every turn's model calls in its only round, in this order."""
NEED_APPROVAL = tuple(TOOLS.index(name) for name in ("refund", "ship", "scrap", "audit"))

OURS = """
  tasks t JOIN attempts a ON a.task_uid = t.uid AND a.number = 1 AND a.step = 'reply' AND t.session_uid = %(s)s
"""
APPROVED = """
  EXISTS (SELECT FROM waits w LEFT JOIN replies r ON r.wait_id = w.id AND r.accepted
          WHERE (w.task_uid, w.step, w.item, w.round, w.call) = (j.task_uid, j.step, j.item, j.round, j.call)
            AND w.kind = 'Approval'
            AND (r.body ->> 'choice' = 'approve' OR (w.state = 'Expired' AND w.body ->> 'onTimeout' = 'Approve')))
"""
PROMISES = {
    "no call begins without its approval": f"""
        SELECT j.call FROM journal j JOIN {OURS} ON t.uid = j.task_uid
        WHERE j.begun IS NOT NULL AND j.call IN {NEED_APPROVAL} AND NOT {APPROVED}""",
    "no container or task of a call is awaited without its approval": f"""
        SELECT j.call FROM waits j JOIN {OURS} ON t.uid = j.task_uid
        WHERE j.kind IN ('Container', 'Task') AND j.call IN {NEED_APPROVAL} AND NOT {APPROVED}""",
    "what was not approved has no result but an error": f"""
        SELECT j.call FROM journal j JOIN {OURS} ON t.uid = j.task_uid
        WHERE j.result IS NOT NULL AND j.call IN {NEED_APPROVAL} AND NOT {APPROVED}
          AND (json_typeof(j.result) <> 'object' OR j.result -> 'error' IS NULL)""",
    "runners begin what is theirs": f"""
        SELECT j.call FROM journal j JOIN {OURS} ON t.uid = j.task_uid
        WHERE j.begun IS NOT NULL AND j.call IN ({TOOLS.index("audit")}, {TOOLS.index("report")}, {TOOLS.index("score")})""",
    "every call and every result is told once": """
        SELECT task_uid, type FROM events WHERE session_uid = %(s)s AND type IN ('toolCall', 'toolResult')
        GROUP BY task_uid, step, item, type, content ->> 'id' HAVING count(*) > 1""",
    "every result has its call": """
        SELECT e.sequence FROM events e WHERE e.session_uid = %(s)s AND e.type = 'toolResult'
        AND NOT EXISTS (SELECT FROM events c WHERE (c.session_uid, c.task_uid, c.ticket) = (e.session_uid, e.task_uid, e.ticket)
                        AND c.type = 'toolCall' AND c.content ->> 'id' = e.content ->> 'id'
                        AND c.sequence < e.sequence)""",
    "every call of an ended turn has its result": """
        SELECT e.sequence FROM events e JOIN turns u USING (session_uid, ticket)
        WHERE e.session_uid = %(s)s AND u.state = 'Done' AND e.type = 'toolCall'
          AND NOT EXISTS (SELECT FROM events r WHERE (r.session_uid, r.ticket) = (e.session_uid, e.ticket)
                          AND r.type = 'toolResult' AND r.content ->> 'id' = e.content ->> 'id')""",
    "the transcript has the journal's results": """
        SELECT e.sequence FROM events e JOIN journal j
          ON j.task_uid = e.task_uid AND j.step = e.step AND j.item = e.item AND j.round = 0
         AND j.call = (e.content ->> 'call')::int
        WHERE e.session_uid = %(s)s AND e.type = 'toolResult' AND j.result IS NOT NULL
          AND (e.content -> 'result')::text::jsonb <> j.result::text::jsonb""",
    "a decision was told once": """
        SELECT 1 WHERE (SELECT count(*) FROM events WHERE session_uid = %(s)s AND type = 'reply') <>
          (SELECT count(*) FROM waits w JOIN tasks t ON t.uid = w.task_uid
           WHERE t.session_uid = %(s)s AND w.kind = 'Approval' AND w.state IN ('Answered', 'Expired'))""",
    "an answered approval has one accepted reply, any other none": """
        SELECT w.id FROM waits w JOIN tasks t ON t.uid = w.task_uid WHERE t.session_uid = %(s)s
        AND (w.state = 'Answered' AND w.kind = 'Approval')
          <> EXISTS (SELECT FROM replies r WHERE r.wait_id = w.id AND r.accepted)""",
    "an answered container or task has its result": """
        SELECT w.id FROM waits w JOIN tasks t ON t.uid = w.task_uid WHERE t.session_uid = %(s)s
        AND w.kind IN ('Container', 'Task') AND w.state = 'Answered'
        AND NOT EXISTS (SELECT FROM journal j WHERE (j.task_uid, j.step, j.item, j.round, j.call)
                          = (w.task_uid, w.step, w.item, w.round, w.call) AND j.result IS NOT NULL)""",
    "nothing waits for what ended": """
        SELECT w.id FROM waits w JOIN tasks t ON t.uid = w.task_uid WHERE t.session_uid = %(s)s
        AND w.state = 'Open' AND (t.ended_at IS NOT NULL OR t.gone_since IS NOT NULL)""",
    "an end of a queued task is told once": f"""
        SELECT task_uid FROM events WHERE session_uid = %(s)s AND content ->> 'state' = '{TASK_ENDED}'
        GROUP BY task_uid HAVING count(*) > 1""",
    "every end of a queued task is told": f"""
        SELECT q.name FROM queued_tasks q JOIN tasks t ON t.uid = q.task_uid
        WHERE q.session_uid = %(s)s AND (t.ended_at IS NOT NULL OR t.gone_since IS NOT NULL)
          AND NOT EXISTS (SELECT FROM events e WHERE e.session_uid = %(s)s AND e.task_uid = t.uid
                          AND e.content ->> 'state' = '{TASK_ENDED}')""",
    "sequences run 1, 2, 3 …": """
        SELECT sequence FROM (SELECT sequence, row_number() OVER (ORDER BY sequence) AS nth
                              FROM events WHERE session_uid = %(s)s) e WHERE sequence <> nth""",
    "the session counts its events": """
        SELECT last_sequence, messages FROM sessions s WHERE uid = %(s)s
        AND (last_sequence, messages) <> (SELECT count(*), count(*) FILTER (WHERE type = 'message')
                                          FROM events WHERE session_uid = s.uid)""",
    "an agent's usage is its attempts'": """
        SELECT u.input_tokens FROM sessions s JOIN agent_usage u USING (cluster, namespace) WHERE s.uid = %(s)s
        AND u.agent = 'support' AND (u.input_tokens, u.output_tokens) <>
          (SELECT sum(a.input_tokens), sum(a.output_tokens) FROM attempts a JOIN tasks t ON t.uid = a.task_uid
           WHERE t.cluster = s.cluster)""",
}  # fmt: skip
