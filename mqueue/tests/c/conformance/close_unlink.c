/* mq_close and mq_unlink: rows C1 to C4 and U1 to U6. */
#include "common.h"
#include <dirent.h>

static int descriptors(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    must(dir != NULL, "/proc/self/fd");
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static void open_and_close(void)
{
    mqd_t queue = open_again(1, O_RDWR), writer = open_again(1, O_WRONLY);
    put(writer, "x", 1);
    take(queue);
    must(mq_close(queue) == 0 && mq_close(writer) == 0, "closing");
}

static void c1(void)
{
    mqd_t queue = create(0, 0, 2, 8);
    fact("close", "%d", mq_close(queue));
    fact("again", "%s", outcome(mq_close(queue)));
    fact("minus_one", "%s", outcome(mq_close((mqd_t)-1)));
    fact("never_opened", "%s", outcome(mq_close(19999)));
    int ends[2];
    must(pipe(ends) == 0, "pipe");
    fact("of_a_pipe", "%s", outcome(mq_close(ends[0])));
    fact("of_a_pipe.afterwards", "%s", outcome(fcntl(ends[0], F_GETFD)));
    create(1, 0, 2, 64);
    open_and_close();
    int before = descriptors();
    for (int i = 0; i < 100; i++)
        open_and_close();
    fact("descriptors_left_of_200", "%d", descriptors() - before);
}

static void c2(void)
{
    expect_notices();
    mqd_t queue = create(0, 0, 2, 64), other = open_again(0, O_RDWR), third = open_again(0, O_RDWR);
    fact("register", "%s", notify(queue, 1));
    fact("registered", "%s", registration(other));
    mq_close(queue);
    fact("closed", "%s", registration(other));
    queue = dup(other);
    fact("register_again", "%s", notify(other, 2));
    fact("registered_again", "%s", registration(other));
    mq_close(queue);
    fact("dup_closed", "%s", registration(other));
    fact("register_third", "%s", notify(other, 3));
    fact("registered_third", "%s", registration(other));
    mq_close(third);
    fact("other_opening_closed", "%s", registration(other));
    third = open_again(0, O_RDWR);
    fact("register_fourth", "%s", notify(other, 4));
    fact("registered_fourth", "%s", registration(other));
    close(third);
    fact("other_opening_closed_by_close", "%s", registration(other));
    notify(other, 5);
    put(other, "x", 1);
    fact("notice", "%s", notice());
    fact("more", "%s", notice_now());
}

static mqd_t inherited;

static void closes(void)
{
    mq_close(inherited);
}

static void registers(void)
{
    must(strcmp(notify(inherited, 5), "ok") == 0, "registering");
    put(inherited, "kept", 1);
    must(strcmp(notice(), "5") == 0 && strcmp(notify(inherited, 6), "ok") == 0, "registering again");
}

static void registers_and_executes(void)
{
    must(strcmp(notify(inherited, 7), "ok") == 0, "registering");
    exec_part("nothing", inherited);
}

static void c3(void)
{
    expect_notices();
    inherited = create(0, 0, 2, 64);
    run(registers);
    fact("after_exit.registration", "%s", registration(inherited));
    run(registers_and_executes);
    fact("after_exec.registration", "%s", registration(inherited));
    fact("content", "%s", drain(inherited));
    fact("own", "%s", notify(inherited, 8));
    run(closes);
    fact("child_closed.registration", "%s", registration(inherited));
    put(inherited, "x", 1);
    fact("notice", "%s", notice());
}

static void c4(void)
{
    mqd_t queue = create(0, 0, 2, 64);
    mq_close(queue);
    fact("send", "%s", put(queue, "x", 1));
    fact("timedsend", "%s", outcome(mq_timedsend(queue, "x", 1, 1, &long_ago)));
    fact("receive", "%s", take(queue));
    fact("timedreceive", "%s", outcome(mq_timedreceive(queue, (char[64]){0}, 64, NULL, &long_ago)));
    fact("getattr", "%s", attributes(queue));
    fact("setattr", "%s", outcome(mq_setattr(queue, &(struct mq_attr){0}, NULL)));
    fact("notify", "%s", notify(queue, 1));

    mqd_t other = open_again(0, O_RDWR);
    struct call *receiver = new_call(RECEIVE, open_again(0, O_RDWR));
    in_thread(receiver);
    until_blocked(receiver);
    fact("close_while_another_thread_waits", "%s", outcome(mq_close(receiver->queue)));
    fact("it", "%s", blocked(receiver));
    put(other, "news", 1);
    fact("it.received", "%s", result(receiver));

    /* Not mq_close, and the number is used again at once. */
    create(1, 0, 2, 64);
    close(other);
    queue = open_again(1, O_RDWR);
    must(queue == other || dup2(queue, other) == other, "dup2");
    put(other, "elsewhere", 1);
    fact("number_reused.old", "%ld", held(open_again(0, O_RDWR)));
    fact("number_reused.new", "%s", drain(open_again(1, O_RDWR)));
}

static void u1(void)
{
    mqd_t queue = create(0, 0, 2, 64), other = open_again(0, O_RDWR);
    put(queue, "before", 1);
    fact("unlink", "%d", mq_unlink(name_of(0)));
    fact("open", "%s", try_open(name_of(0), O_RDWR));
    fact("send", "%s", put(queue, "after", 1));
    fact("content", "%s", drain(other));
    struct call *receiver = new_call(RECEIVE, other);
    in_process(receiver);
    until_blocked(receiver);
    fact("send_to_waiting", "%s", put(queue, "wakes", 2));
    fact("received", "%s", result(receiver));
}

static void u2(void)
{
    mqd_t old = create(0, 0, 2, 64);
    put(old, "old", 1);
    mq_unlink(name_of(0));
    mqd_t new = create(0, 0, 5, 32);
    fact("new", "%s", attributes(new));
    fact("old", "%s", attributes(old));
    put(new, "new", 2);
    fact("by_name", "%s", drain(open_again(0, O_RDONLY)));
    fact("old.content", "%s", drain(old));
}

static void u3(void)
{
    create(0, 0, 2, 8);
    fact("never", "%s", outcome(mq_unlink(name_of(1))));
    fact("first", "%s", outcome(mq_unlink(name_of(0))));
    fact("second", "%s", outcome(mq_unlink(name_of(0))));
}

static void stranger_unlinks(void)
{
    become(STRANGER);
    fact("other", "%s", outcome(mq_unlink(name_of(0))));
    fact("other.0666", "%s", outcome(mq_unlink(name_of(1))));
    create(2, 0, 2, 8);
    create(3, 0, 2, 8);
    fact("own", "%s", outcome(mq_unlink(name_of(2))));
}

static void u4(void)
{
    if (!is_root()) {
        skip("other", "another user needs root");
        return;
    }
    umask(0);
    create(0, 0, 2, 8);
    try_create(name_of(1), O_RDWR, 0666, 2, 8);
    run(stranger_unlinks);
    fact("still_there", "%s", try_open(name_of(0), O_RDWR));
    fact("still_there.0666", "%s", try_open(name_of(1), O_RDWR));
    fact("root", "%s", outcome(mq_unlink(name_of(3))));
}

static void u5(void)
{
    char name[5002];
    memset(name, 'x', sizeof name);
    name[0] = '/';
    name[5001] = '\0';
    fact("5000 bytes", "%s", outcome(mq_unlink(name)));
    name[257] = '\0';
    fact("256 bytes", "%s", outcome(mq_unlink(name)));
    name[256] = '\0';
    fact("255 bytes", "%s", outcome(mq_unlink(name)));
    static const char *const names[] = {"x", "", "/", "//", "/a/b", "/.", "/.."};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char what[16];
        snprintf(what, sizeof what, "'%s'", names[i]);
        fact(what, "%s", outcome(mq_unlink(names[i])));
    }
}

/* A queue of the default size is charged a ninth of what a user may have. */
static void many_in_turn(void)
{
    const char *worst = "ok";
    become(lonely());
    for (int i = 0; i < 40; i++) {
        mqd_t queue = mq_open(name_of(0), O_RDWR | O_CREAT | O_EXCL, 0600, NULL);
        const char *opened = outcome(queue), *sent = put(queue, "x", 1), *unlinked = outcome(mq_unlink(name_of(0)));
        const char *got = take(queue), *closed = outcome(mq_close(queue));
        const char *said[] = {opened, sent, unlinked, strcmp(got, "x/1") == 0 ? "ok" : got, closed};
        for (int j = 0; j < 5; j++)
            if (strcmp(said[j], "ok") != 0)
                worst = said[j];
    }
    fact("40 in turn", "%s", worst);
}

static void u6(void)
{
    struct stat stat;
    mqd_t queue = create(0, 0, 2, 64), other = open_again(0, O_RDWR);
    fact("links", "%d", fstat(queue, &stat) == 0 ? (int)stat.st_nlink : -1);
    mq_unlink(name_of(0));
    fact("links.unlinked", "%d", fstat(queue, &stat) == 0 ? (int)stat.st_nlink : -1);
    mq_close(queue);
    fact("send", "%s", put(other, "x", 1));
    fact("content", "%s", drain(other));
    if (is_root())
        run(many_in_turn);
    else
        skip("40 in turn", "becoming a user without other queues needs root");
}

const struct row close_unlink_rows[] = {
    {"C1", c1}, {"C2", c2}, {"C3", c3}, {"C4", c4}, {"U1", u1}, {"U2", u2},
    {"U3", u3}, {"U4", u4}, {"U5", u5}, {"U6", u6}, {NULL, NULL},
};
