/* conformance ROW           shows the row: prints facts, a line `name=value` each, and ends with 0
 * conformance --list        the rows, a line `ROW FILE` each
 * conformance --probe       whether there are queues at all: `ok`, or the name of an error
 * conformance --part P FD   what a row runs after exec
 *
 * CONFORMANCE_TAG is part of every queue's name, so that several may run at a time. As root it leaves for a namespace of
 * its own, where the kernel's queues are nobody else's and go with it. CONFORMANCE_DROP_IN says that a library was
 * preloaded: then the kernel may make no queue, so that none is taken for the library's. */
#include "common.h"
#include <sched.h>

static const struct {
    const char *file;
    const struct row *rows;
} files[] = {
    {"open.c", open_rows},
    {"close_unlink.c", close_unlink_rows},
    {"send.c", send_rows},
    {"receive.c", receive_rows},
    {"attributes.c", attributes_rows},
    {"notify.c", notify_rows},
    {"delivery.c", delivery_rows},
    {"poll.c", poll_rows},
    {"descriptors.c", descriptors_rows},
    {"limits.c", limits_rows},
    {"symbols.c", symbols_rows},
    {"processes.c", processes_rows},
    {"signals.c", signals_rows},
    {"cancellation.c", cancellation_rows},
};

static void list(void)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        for (const struct row *row = files[i].rows; row->id != NULL; row++)
            printf("%s %s\n", row->id, files[i].file);
}

static const struct row *find(const char *id)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        for (const struct row *row = files[i].rows; row->id != NULL; row++)
            if (strcmp(row->id, id) == 0)
                return row;
    return NULL;
}

static void forbid_queues_of_the_kernel(void)
{
    struct rlimit limit;
    must(getrlimit(RLIMIT_MSGQUEUE, &limit) == 0, "getrlimit");
    limit.rlim_cur = 0;
    must(setrlimit(RLIMIT_MSGQUEUE, &limit) == 0, "setrlimit");
}

/* Says what has become of the descriptor. */
static int after_exec(const char *part, int descriptor)
{
    struct mq_attr attr;
    if (strcmp(part, "descriptor") == 0) {
        fact("exec.mq_getattr", "%s", outcome(mq_getattr(descriptor, &attr)));
        fact("exec.fcntl", "%s", outcome(fcntl(descriptor, F_GETFD)));
    }
    return 0;
}

int main(int count, char **arguments)
{
    if (count == 2 && strcmp(arguments[1], "--list") == 0) {
        list();
        return 0;
    }
    if (count == 4 && strcmp(arguments[1], "--part") == 0)
        return after_exec(arguments[2], atoi(arguments[3]));
    if (getenv("CONFORMANCE_DROP_IN") != NULL)
        forbid_queues_of_the_kernel();
    if (count == 2 && strcmp(arguments[1], "--probe") == 0) {
        puts(try_create(name_of(0), O_RDWR | O_EXCL, 0600, 1, 1));
        mq_unlink(name_of(0));
        return 0;
    }
    const struct row *row = count == 2 ? find(arguments[1]) : NULL;
    if (row == NULL) {
        fprintf(stderr, "usage: conformance ROW | --list | --probe\n");
        return 2;
    }
    umask(022);
    /* Without the right to, the names' tag has to do. */
    (void)unshare(CLONE_NEWIPC);
    row->show();
    for (int number = 0; number < 10; number++)
        mq_unlink(name_of(number));
    return 0;
}
