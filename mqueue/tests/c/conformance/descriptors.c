/* A queue's descriptor as a descriptor: rows F6 to F8. */
#include "common.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>

/* The compiler shall not know it, so that a fortified build calls what checks it. */
static volatile size_t most = 127;

static void show_line(const char *name, mqd_t queue)
{
    char text[128] = "";
    unsigned long bytes;
    int how, number, owner;
    must(lseek(queue, 0, SEEK_SET) == 0 || errno == ESPIPE, "lseek");
    ssize_t length = read(queue, text, most);
    if (length < 0)
        fact(name, "%s", errno_name(errno));
    else if (sscanf(text, "QSIZE:%lu NOTIFY:%d SIGNO:%d NOTIFY_PID:%d\n", &bytes, &how, &number, &owner) == 4)
        fact(name, "QSIZE %lu, NOTIFY %d, SIGNO %s, NOTIFY_PID %s, %s", bytes, how,
             number == NOTICE ? "NOTICE" : number == 0 ? "0" : "other",
             owner == getpid() ? "own" : owner == 0 ? "0" : "other", text[length - 1] == '\n' ? "a line" : "no line");
    else
        fact(name, "%zd bytes of other things", length);
}

static const char *kind_of(const struct stat *stat)
{
    return S_ISREG(stat->st_mode) ? "regular" : S_ISFIFO(stat->st_mode) ? "FIFO" : "other";
}

static void f6(void)
{
    expect_notices();
    mqd_t queue = create(0, O_NONBLOCK, 4, 64), writer = open_again(0, O_WRONLY);
    mqd_t reader = open_again(0, O_RDONLY | O_NONBLOCK);
    struct stat stat;
    show_line("empty", queue);
    put(queue, "12345", 1);
    put(queue, "123", 7);
    show_line("8 bytes", queue);
    show_line("read_only", reader);
    char text[128];
    volatile size_t five = 5;
    ssize_t length = pread(queue, text, five, 0);
    fact("pread", "%s", length < 0 ? errno_name(errno) : (text[length] = '\0', text));
    fact("write_only", "%s", outcome(read(writer, text, sizeof text)));
    fact("write", "%s", outcome(write(queue, "x", 1)));
    fact("attributes", "%s", attributes(queue));
    fact("content", "%s", drain(queue));
    notify(queue, 1);
    show_line("registered", queue);
    mq_notify(queue, NULL);
    must(fstat(queue, &stat) == 0, "fstat");
    fact("fstat", "%s, %ld bytes", kind_of(&stat), (long)stat.st_size);
    void *memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, queue, 0);
    fact("mmap", "%s", memory == MAP_FAILED ? errno_name(errno) : "ok");
    off_t place = lseek(queue, 7, SEEK_SET);
    fact("lseek", "%s", place < 0 ? errno_name(errno) : place == 7 ? "7" : "other");
}

/* The file that is the queue's entry. Where there is no file system of queues it is what the descriptor is. */
static char entry[512], mounted[64];

static const char *find_entry(mqd_t queue, const char *name)
{
    if (getenv("CONFORMANCE_DROP_IN") != NULL) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", queue);
        ssize_t length = readlink(link, entry, sizeof entry - 1);
        must(length > 0, "readlink");
        entry[length] = '\0';
        return NULL;
    }
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return "mounting needs root";
    strcpy(mounted, "/tmp/conformance-XXXXXX");
    must(mkdtemp(mounted) != NULL, "mkdtemp");
    if (mount("none", mounted, "mqueue", 0, NULL) != 0) {
        rmdir(mounted);
        return "the file system of queues cannot be mounted";
    }
    snprintf(entry, sizeof entry, "%s%s", mounted, name);
    return NULL;
}

/* Another user has what the mode gives, and no more. */
static void stranger_opens_entry(void)
{
    become(STRANGER);
    int reader = open(entry, O_RDONLY | O_NONBLOCK);
    fact("stranger.read_only", "%s", outcome(reader));
    fact("stranger.read_only.receive", "%s", take(reader));
    int writer = open(entry, O_WRONLY | O_NONBLOCK), both = open(entry, O_RDWR | O_NONBLOCK);
    fact("stranger.write_only.send", "%s", put(writer, "forged", 1));
    fact("stranger.both.send", "%s", put(both, "forged", 1));
}

static void f7(void)
{
    umask(0);
    mqd_t queue = mq_open(name_of(0), O_RDWR | O_CREAT | O_NONBLOCK, 0604, &(struct mq_attr){.mq_maxmsg = 3, .mq_msgsize = 64});
    umask(022);
    const char *why = find_entry(queue, name_of(0));
    if (why != NULL) {
        skip("send", why);
        return;
    }
    struct stat stat, other;
    must(lstat(entry, &stat) == 0 && fstat(queue, &other) == 0, "stat of an entry");
    int same = stat.st_ino == other.st_ino && stat.st_dev == other.st_dev;
    fact("entry", "%s, mode %04o, %s", kind_of(&stat), stat.st_mode & 07777, same ? "the descriptor's inode" : "another inode");
    int opened = open(entry, O_RDWR | O_NONBLOCK | O_CLOEXEC), reader = open(entry, O_RDONLY | O_NONBLOCK);
    fact("open", "%s", outcome(opened));
    fact("send", "%s", put(opened, "by the entry", 3));
    fact("attributes", "%s", attributes(opened));
    fact("read_only.send", "%s", put(reader, "x", 1));
    fact("read_only.receive", "%s", take(reader));
    put(queue, "by the name", 2);
    fact("receive", "%s", take(opened));
    fact("set", "%s", outcome(mq_setattr(opened, &(struct mq_attr){0}, NULL)));
    fact("set.attributes", "%s, %s", attributes(opened), attributes(queue));
    fact("close", "%s", outcome(mq_close(opened)));
    fact("read_only.close", "%s", outcome(mq_close(reader)));
    put(queue, "for all", 1);
    if (is_root())
        run(stranger_opens_entry);
    else
        skip("stranger.read_only", "another user needs root");
    fact("content", "%s", drain(queue));
    if (mounted[0] != '\0') {
        umount2(mounted, MNT_DETACH);
        rmdir(mounted);
    }
}

static void show_link(mqd_t queue)
{
    char link[64], text[512];
    const char *dir = getenv("CHAPPE_DIR");
    snprintf(link, sizeof link, "/proc/self/fd/%d", queue);
    ssize_t length = readlink(link, text, sizeof text - 1);
    must(length > 0, "readlink");
    text[length] = '\0';
    int inside = dir != NULL && strncmp(text, dir, strlen(dir)) == 0;
    fact("link", "%s", strcmp(text, name_of(0)) == 0 ? "the name" : inside ? "a path in the directory of chappe" : text);
}

static int sockets[2];

static void uses_what_is_passed(void)
{
    char byte, control[CMSG_SPACE(sizeof(int))];
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    must(recvmsg(sockets[1], &message, 0) == 1, "recvmsg");
    int queue;
    memcpy(&queue, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof queue);
    fact("passed.attributes", "%s", attributes(queue));
    fact("passed.receive", "%s", take(queue));
    fact("passed.send", "%s", put(queue, "passed", 5));
    fact("passed.set", "%s", outcome(mq_setattr(queue, &(struct mq_attr){.mq_flags = O_NONBLOCK}, NULL)));
    fact("passed.poll", "%s", events_text(polled(queue)));
    fact("passed.close", "%s", outcome(mq_close(queue)));
}

static void pass(int queue)
{
    char byte = 'q', control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &queue, sizeof queue);
    must(sendmsg(sockets[0], &message, 0) == 1, "sendmsg");
}

static void f8(void)
{
    /* Before there is a queue that it could inherit. */
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0, "socketpair");
    pid_t child = start(uses_what_is_passed);
    mqd_t queue = create(0, 0, 3, 64);
    show_link(queue);
    const int copies[] = {dup(queue), dup2(queue, 100), dup3(queue, 101, O_CLOEXEC), fcntl(queue, F_DUPFD_CLOEXEC, 50)};
    static const char *const names[] = {"dup", "dup2", "dup3", "F_DUPFD"};
    for (int i = 0; i < 4; i++) {
        const char *sent = put(copies[i], names[i], (unsigned)i);
        fact(names[i], "send %s, receive %s", sent, take(copies[i]));
    }
    put(queue, "to the child", 1);
    mqd_t reader = open_again(0, O_RDWR);
    pass(reader);
    must(strcmp(end_of(child), "exit 0") == 0, "a child failed");
    fact("content", "%s", drain(queue));
    fact("after_child.flags", "%s, %s", attributes(reader), attributes(queue));
    put(queue, "still", 1);
    mq_close(queue);
    fact("original_closed", "%s", take(copies[0]));
    /* The number is another file's now, which is none of ours. */
    int null = open("/dev/null", O_RDWR);
    must(dup2(null, copies[1]) == copies[1], "dup2");
    fact("number_reused", "%s", put(copies[1], "x", 1));
    mqd_t other = create(1, O_NONBLOCK, 2, 64);
    must(dup2(other, copies[2]) == copies[2], "dup2");
    put(copies[2], "elsewhere", 1);
    fact("number_reused_for_a_queue", "%s, %s", drain(other), drain(copies[0]));
}

const struct row descriptors_rows[] = {
    {"F6", f6}, {"F7", f7}, {"F8", f8}, {NULL, NULL},
};
