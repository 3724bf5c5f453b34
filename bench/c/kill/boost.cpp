// boost::interprocess::message_queue, with its timed calls.
#include "queue.h"
#include <boost/date_time/posix_time/posix_time_types.hpp>
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/version.hpp>
#include <cerrno>
#include <gnu/libc-version.h>
#include <string>

namespace ipc = boost::interprocess;
namespace pt = boost::posix_time;

namespace {

const char *plain(const char *name)
{
    return *name == '/' ? name + 1 : name;
}

// In universal time, as Boost's deadlines are.
pt::ptime deadline;

ipc::message_queue *queue_of(void *queue)
{
    return static_cast<ipc::message_queue *>(queue);
}

} // namespace

extern "C" int q_init(const char *)
{
    return 0;
}

extern "C" const char *q_version()
{
    static const std::string text = std::string("Boost " BOOST_LIB_VERSION ", glibc ") + gnu_get_libc_version();
    return text.c_str();
}

extern "C" void *q_create(const char *name, unsigned capacity, unsigned size)
{
    try {
        return new ipc::message_queue(ipc::create_only, plain(name), capacity, size);
    } catch (const ipc::interprocess_exception &) {
        return nullptr;
    }
}

extern "C" void *q_open(const char *name)
{
    try {
        return new ipc::message_queue(ipc::open_only, plain(name));
    } catch (const ipc::interprocess_exception &) {
        return nullptr;
    }
}

extern "C" void q_within(long milliseconds)
{
    deadline = pt::microsec_clock::universal_time() + pt::milliseconds(milliseconds);
}

extern "C" int q_send(void *queue, const void *message, unsigned length)
{
    try {
        return queue_of(queue)->timed_send(message, length, 0, deadline) ? 0 : ETIMEDOUT;
    } catch (const ipc::interprocess_exception &) {
        return EIO;
    }
}

extern "C" int q_receive(void *queue, void *buffer, unsigned room)
{
    ipc::message_queue::size_type length;
    unsigned priority;
    try {
        bool came = queue_of(queue)->timed_receive(buffer, room, length, priority, deadline);
        return came ? static_cast<int>(length) : -ETIMEDOUT;
    } catch (const ipc::interprocess_exception &) {
        return -EIO;
    }
}

extern "C" void q_close(void *queue)
{
    delete queue_of(queue);
}

extern "C" void q_unlink(const char *name)
{
    ipc::message_queue::remove(plain(name));
}
