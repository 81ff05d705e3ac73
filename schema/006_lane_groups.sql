-- rollout/lane: small classes may share one lane: the class whose row leads it; '' for a lane of one.
ALTER TABLE lanes ADD COLUMN lead TEXT NOT NULL DEFAULT '';
CREATE INDEX lanes_by_lead ON lanes (rollout, lead);
