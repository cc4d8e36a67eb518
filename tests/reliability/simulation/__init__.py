"""A town in one process: agents, broker, hub and providers on virtual time, with everything going wrong.

The state machines are the real ones (`Agent`, `Door` and `IngestLoop`, `AssessService`, `Recorder`,
`NotifyMachine`, `AlertService`); only what lies between and around them is modelled: networks, broker, disks, clocks,
providers, people. What a disk holds is what the last finished transaction left there. One seed decides
everything that happens, so a run that found something is repeated by its number::

    python -m tests.reliability.simulation --seeds 100 --start-seed 1 --json
"""
