"""Proof that topics and tables tell the same story, or the exact records that refute it.

    pins -> strands (a topic partition beside its table each) -> joins (actions beside answers) -> files, replays -> report

Memory is bounded whatever the log's length: per worker one step of at most 10,000 records (32 MiB of them) from the topic and the
same from the table, and one bucket of 2**19 offsets while joining, about 50 MB; 800 MB a worker were seen, libraries included. Disk
takes 24 bytes for each action and 40 for each answer, in a temporary folder. What grows in memory is small: 16 bytes for each gap in
the offsets (a transaction's end) and for each run of aborted records, an entry for each data file, each receipt and each replay.
"""
