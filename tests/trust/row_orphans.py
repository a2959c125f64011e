"""The daemon is killed while its processes start, evaluate without end and train: none of them lives on."""
import work

TITLE = "daemon killed: processes that live on"


def run(trust, row):
    d = trust.daemon("--workers", "2")
    for i in range(trust.pick(20, 3)):
        d.start()
        if i % 3 < 2:  # else the processes have hardly begun
            work.begin_run(d)
            begun = work.begin(d, "/eval", work.ENDLESS, X_Deadline_Ms=600000)
            work.wait_for("a worker is busy", lambda: work.busy(d))
            work.wait_for("a run trains", lambda: any(map(work.trainer, d.children())))
        processes = work.wait_for("there are processes", d.children)
        row.asked += len(processes)
        d.kill()
        row.faults += 1
        work.wait_for(f"all of {processes} end", lambda: all(map(work.ended, processes)))
        if i % 3 < 2:
            begun.close()
