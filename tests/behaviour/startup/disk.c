/* A disk that is slow, or that hangs, in front of the C library: what is below the folder $DISK takes
 * $DISK_SYNC_US microseconds to be written, and nothing is read, written or locked there while a file
 * $DISK_HANGS exists. */

#define _GNU_SOURCE
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_there(int fd)
{
    const char *disk = getenv("DISK");
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path);
    size_t prefix = disk ? strlen(disk) : 0;
    return disk && length >= (ssize_t)prefix && memcmp(path, disk, prefix) == 0;
}

static void hang(int fd)
{
    const char *hangs = getenv("DISK_HANGS");
    if (hangs && is_there(fd))
        while (access(hangs, F_OK) == 0)
            usleep(10000);
}

int fsync(int fd)
{
    const char *delay = getenv("DISK_SYNC_US");
    hang(fd);
    if (delay && is_there(fd))
        usleep((useconds_t)atoi(delay));
    return (int)syscall(SYS_fsync, fd);
}

ssize_t read(int fd, void *buffer, size_t length)
{
    hang(fd);
    return syscall(SYS_read, fd, buffer, length);
}

int flock(int fd, int operation)
{
    hang(fd);
    return (int)syscall(SYS_flock, fd, operation);
}
