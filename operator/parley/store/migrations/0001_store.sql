-- Columns of type json, not jsonb, hold what users and models wrote: their keys keep their order.
-- uids are Kubernetes' and opaque, so they are text. item is -1, never NULL: NULLs would defeat the unique indexes.

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '%: %', TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TABLE store (
  one        boolean PRIMARY KEY DEFAULT true CHECK (one),
  id         uuid NOT NULL DEFAULT gen_random_uuid(),
  created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO store DEFAULT VALUES;
CREATE TRIGGER keep_identity BEFORE UPDATE OR DELETE ON store
  FOR EACH ROW EXECUTE FUNCTION refuse_change('the identity of a store never changes');

CREATE TABLE leader (
  cluster text NOT NULL,
  install text NOT NULL,
  epoch   bigint NOT NULL CHECK (epoch > 0),
  holder  text NOT NULL,
  tick    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (cluster, install)
);
CREATE TRIGGER never_back BEFORE UPDATE ON leader
  FOR EACH ROW WHEN (NEW.epoch < OLD.epoch) EXECUTE FUNCTION refuse_change('an epoch never falls');

CREATE TABLE sessions (
  uid           text PRIMARY KEY,
  cluster       text NOT NULL,
  install       text NOT NULL,
  namespace     text NOT NULL,
  name          text NOT NULL,
  last_sequence bigint NOT NULL DEFAULT 0,
  messages      bigint NOT NULL DEFAULT 0,
  last_ticket   bigint NOT NULL DEFAULT 0,
  input_tokens  bigint NOT NULL DEFAULT 0,
  output_tokens bigint NOT NULL DEFAULT 0,
  created_at    timestamptz NOT NULL DEFAULT now(),
  gone_since    timestamptz,
  CHECK (messages BETWEEN 0 AND last_sequence)
);
CREATE INDEX sessions_open ON sessions (cluster) WHERE gone_since IS NULL;
CREATE TRIGGER never_back BEFORE UPDATE ON sessions
  FOR EACH ROW WHEN (NEW.last_sequence < OLD.last_sequence OR NEW.last_ticket < OLD.last_ticket
                     OR (OLD.gone_since IS NOT NULL AND NEW.gone_since IS DISTINCT FROM OLD.gone_since))
  EXECUTE FUNCTION refuse_change('sequences and tickets never fall, and what is gone stays gone');

CREATE TABLE tasks (
  uid             text PRIMARY KEY,
  cluster         text NOT NULL,
  install         text NOT NULL,
  namespace       text NOT NULL,
  name            text NOT NULL,
  session_uid     text REFERENCES sessions,
  spec            json NOT NULL,
  created_at      timestamptz NOT NULL,
  registered_at   timestamptz NOT NULL DEFAULT now(),
  deadline        timestamptz,
  suspended_since timestamptz,
  gone_since      timestamptz,
  ended_at        timestamptz,
  end_phase       text CHECK (end_phase IN ('Succeeded', 'Failed', 'Cancelled')),
  end_reason      text,
  end_message     text,
  output          json,
  CHECK (num_nonnulls(ended_at, end_phase, end_reason, end_message) IN (0, 4)),
  CHECK (ended_at IS NOT NULL OR output IS NULL)
);
CREATE INDEX tasks_by_session ON tasks (session_uid) WHERE session_uid IS NOT NULL;
CREATE INDEX tasks_open ON tasks (cluster) WHERE gone_since IS NULL;
CREATE INDEX tasks_with_deadline ON tasks (cluster, install) WHERE deadline IS NOT NULL AND ended_at IS NULL;
CREATE TRIGGER keep_end BEFORE UPDATE ON tasks
  FOR EACH ROW WHEN ((OLD.ended_at IS NOT NULL
                      AND (NEW.ended_at, NEW.end_phase, NEW.end_reason, NEW.end_message, NEW.output::text)
                        IS DISTINCT FROM (OLD.ended_at, OLD.end_phase, OLD.end_reason, OLD.end_message, OLD.output::text))
                     OR (OLD.gone_since IS NOT NULL AND NEW.gone_since IS DISTINCT FROM OLD.gone_since))
  EXECUTE FUNCTION refuse_change('the first end of a task stands, and what is gone stays gone');

-- A place in the queue of a session. Tickets are granted in their order, so (ticket, sequence) is the order of the
-- conversation. posted_spec: spec of the Task to make for a message that is in the session already.
CREATE TABLE turns (
  session_uid text NOT NULL REFERENCES sessions ON DELETE CASCADE,
  ticket      bigint NOT NULL CHECK (ticket > 0),
  task_uid    text REFERENCES tasks ON DELETE CASCADE,
  task_name   text NOT NULL,
  step        text NOT NULL,
  state       text NOT NULL DEFAULT 'Waiting',
  posted_spec json,
  created_at  timestamptz NOT NULL DEFAULT now(),
  granted_at  timestamptz,
  ended_at    timestamptz,
  PRIMARY KEY (session_uid, ticket),
  CHECK (task_uid IS NOT NULL OR posted_spec IS NOT NULL),
  CHECK (CASE state
           WHEN 'Waiting'   THEN granted_at IS NULL AND ended_at IS NULL
           WHEN 'Held'      THEN granted_at IS NOT NULL AND ended_at IS NULL AND task_uid IS NOT NULL
           WHEN 'Done'      THEN granted_at IS NOT NULL AND ended_at IS NOT NULL
           WHEN 'Withdrawn' THEN granted_at IS NULL AND ended_at IS NOT NULL
           ELSE false
         END)
);
CREATE UNIQUE INDEX turns_one_held ON turns (session_uid) WHERE state = 'Held';
CREATE UNIQUE INDEX turns_one_ticket ON turns (task_uid, step) WHERE state IN ('Waiting', 'Held');
CREATE UNIQUE INDEX turns_one_post ON turns (session_uid, task_name, step)
  WHERE task_uid IS NULL AND state = 'Waiting';
CREATE INDEX turns_open ON turns (session_uid, ticket) WHERE state IN ('Waiting', 'Held');
CREATE INDEX turns_by_task ON turns (task_uid);
CREATE TRIGGER keep_end BEFORE UPDATE ON turns
  FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL) EXECUTE FUNCTION refuse_change('an ended turn never changes');

CREATE TABLE attempts (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  task_uid      text NOT NULL REFERENCES tasks ON DELETE CASCADE,
  step          text NOT NULL,
  item          int NOT NULL DEFAULT -1 CHECK (item >= -1),
  number        int NOT NULL CHECK (number > 0),
  cause         text NOT NULL CHECK (cause IN ('First', 'Retry', 'Disruption', 'Resume')),
  job           text,
  index         int NOT NULL DEFAULT 0 CHECK (index >= 0),
  session_uid   text,
  ticket        bigint,
  state         text NOT NULL DEFAULT 'Open',
  holder        text,
  request       json NOT NULL,
  deadline      timestamptz NOT NULL,
  lease_until   timestamptz,
  reason        text,
  message       text,
  definite      boolean NOT NULL DEFAULT false,
  retry_after   int,
  exit_code     int,
  pod_uid       text,
  answer        json,
  input_tokens  bigint NOT NULL DEFAULT 0,
  output_tokens bigint NOT NULL DEFAULT 0,
  created_at    timestamptz NOT NULL DEFAULT now(),
  taken_at      timestamptz,
  ended_at      timestamptz,
  FOREIGN KEY (session_uid, ticket) REFERENCES turns ON DELETE CASCADE,
  CHECK ((session_uid IS NULL) = (ticket IS NULL)),
  CHECK ((holder IS NULL) = (taken_at IS NULL)),
  CHECK (CASE state
           WHEN 'Open'    THEN holder IS NULL AND ended_at IS NULL
           WHEN 'Running' THEN holder IS NOT NULL AND ended_at IS NULL
           ELSE state IN ('Succeeded', 'Failed', 'Paused', 'Lost', 'TimedOut', 'Cancelled') AND ended_at IS NOT NULL
         END),
  CHECK (state NOT IN ('Failed', 'Lost', 'TimedOut', 'Cancelled') OR (reason IS NOT NULL AND message IS NOT NULL))
);
CREATE UNIQUE INDEX attempts_number ON attempts (task_uid, step, item, number);
CREATE UNIQUE INDEX attempts_job ON attempts (job, index);
CREATE UNIQUE INDEX attempts_one_open ON attempts (task_uid, step, item) WHERE state IN ('Open', 'Running');
CREATE UNIQUE INDEX attempts_one_success ON attempts (task_uid, step, item) WHERE state = 'Succeeded';
CREATE INDEX attempts_by_turn ON attempts (session_uid, ticket) WHERE session_uid IS NOT NULL;
CREATE TRIGGER keep_end BEFORE UPDATE ON attempts
  FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL) EXECUTE FUNCTION refuse_change('an ended attempt never changes');
CREATE TRIGGER keep_request BEFORE UPDATE ON attempts
  FOR EACH ROW WHEN ((NEW.task_uid, NEW.step, NEW.item, NEW.number) <> (OLD.task_uid, OLD.step, OLD.item, OLD.number)
                     OR NEW.request::text <> OLD.request::text OR NEW.holder IS DISTINCT FROM coalesce(OLD.holder, NEW.holder))
  EXECUTE FUNCTION refuse_change('what an attempt runs and who holds it never changes');

-- What a prompt step says to the model first, as its first attempt rendered it, and where its next event goes.
CREATE TABLE inputs (
  task_uid      text NOT NULL REFERENCES tasks ON DELETE CASCADE,
  step          text NOT NULL,
  item          int NOT NULL DEFAULT -1,
  messages      json,
  next_position int NOT NULL CHECK (next_position > 0),
  PRIMARY KEY (task_uid, step, item)
);

-- call -1 is the model's response of that round, with its usage.
CREATE TABLE journal (
  task_uid      text NOT NULL REFERENCES tasks ON DELETE CASCADE,
  step          text NOT NULL,
  item          int NOT NULL DEFAULT -1,
  round         int NOT NULL CHECK (round >= 0),
  call          int NOT NULL DEFAULT -1 CHECK (call >= -1),
  attempt       bigint NOT NULL REFERENCES attempts ON DELETE CASCADE,
  begun         json,
  result        json,
  input_tokens  bigint,
  output_tokens bigint,
  at            timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (task_uid, step, item, round, call),
  CHECK (begun IS NOT NULL OR result IS NOT NULL),
  CHECK ((call = -1) = (input_tokens IS NOT NULL) AND (call = -1) = (output_tokens IS NOT NULL))
);
CREATE INDEX journal_by_attempt ON journal (attempt);
CREATE TRIGGER keep_first BEFORE UPDATE ON journal
  FOR EACH ROW WHEN (OLD.result IS NOT NULL) EXECUTE FUNCTION refuse_change('the first result stands');

CREATE TABLE events (
  session_uid   text NOT NULL REFERENCES sessions ON DELETE CASCADE,
  sequence      bigint NOT NULL CHECK (sequence > 0),
  id            uuid NOT NULL,
  time          timestamptz NOT NULL DEFAULT clock_timestamp(),
  type          text NOT NULL CHECK (type IN ('message', 'toolCall', 'toolResult', 'reply', 'state', 'summary')),
  role          text CHECK (role IN ('user', 'assistant')),
  content       json NOT NULL,
  task_uid      text,
  task          text,
  step          text,
  item          int NOT NULL DEFAULT -1,
  attempt       int,
  ticket        bigint,
  PRIMARY KEY (session_uid, sequence),
  UNIQUE (session_uid, id),
  CHECK (type <> 'message' OR role IS NOT NULL)
);
CREATE INDEX events_by_turn ON events (session_uid, ticket, sequence);
CREATE TRIGGER keep_place BEFORE UPDATE ON events
  FOR EACH ROW WHEN ((NEW.session_uid, NEW.sequence, NEW.id) <> (OLD.session_uid, OLD.sequence, OLD.id))
  EXECUTE FUNCTION refuse_change('an event keeps its place');

CREATE TABLE outputs (
  task_uid text NOT NULL REFERENCES tasks ON DELETE CASCADE,
  step     text NOT NULL,
  item     int NOT NULL DEFAULT -1,
  value    json NOT NULL,
  PRIMARY KEY (task_uid, step, item)
);

CREATE TABLE waits (
  id         uuid PRIMARY KEY,
  task_uid   text NOT NULL REFERENCES tasks ON DELETE CASCADE,
  step       text NOT NULL,
  item       int NOT NULL DEFAULT -1,
  round      int NOT NULL DEFAULT 0,
  call       int NOT NULL DEFAULT -1,
  kind       text NOT NULL CHECK (kind IN ('Question', 'Approval', 'Container', 'Task')),
  body       json NOT NULL,
  deadline   timestamptz,
  state      text NOT NULL DEFAULT 'Open' CHECK (state IN ('Open', 'Answered', 'Expired', 'Withdrawn')),
  created_at timestamptz NOT NULL DEFAULT now(),
  ended_at   timestamptz,
  UNIQUE (task_uid, step, item, round, call),
  CHECK ((state = 'Open') = (ended_at IS NULL))
);

CREATE TABLE replies (
  uid      text PRIMARY KEY,
  wait_id  uuid NOT NULL REFERENCES waits ON DELETE CASCADE,
  accepted boolean NOT NULL,
  why      text,
  body     json NOT NULL,
  by       text NOT NULL,
  at       timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX replies_one_accepted ON replies (wait_id) WHERE accepted;
