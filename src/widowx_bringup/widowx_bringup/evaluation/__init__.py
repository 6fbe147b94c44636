"""The verbs that run whole sessions: record, evaluate, report, study, demo, calibrate."""
