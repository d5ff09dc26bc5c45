/* A disk that fails on demand: LD_PRELOAD for the fault, kill and power campaigns (tests/campaign/shim.py).
 *
 * Stands in front of libc's file calls for paths below one folder, and
 *   - counts the steps (write, truncate, sync, rename, unlink, create) and the syncs among them;
 *   - at the Nth step from now fails it (ENOSPC, EIO, a short write), or kills the process before it;
 *   - fails the Nth allocation that the SQLite of sqlcipher3 makes;
 *   - writes every step with its octets to a log, from which the files can be rebuilt as of any moment.
 *
 * Orders come through a page that the harness maps as well (`struct control`), so that they can be changed
 * while the process runs. Nothing here allocates, and every call is passed on as a bare system call.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING, KILL, NO_SPACE, WRITE_ERROR, SYNC_ERROR, SHORT_WRITE, NO_MEMORY };

struct control { /* shim.py: Control, the same order */
    _Atomic int64_t mode;      /* one of the above */
    _Atomic int64_t countdown; /* the fault comes when it reaches 0; counts what `mode` is about */
    _Atomic int64_t sticky;    /* 1: every further one fails too, until the mode is changed */
    _Atomic int64_t steps, syncs, allocations, fired;
    char at[64];               /* what it fired at: the step, and the end of its path */
    char only[64];             /* paths that begin with this; empty: all below the folder */
};

enum { FDS = 4096, PATH = 256 };
static struct control *control;
static char folder[PATH];
static size_t folder_length;
static char paths[FDS][PATH]; /* below `folder`; empty: not ours */
static int log_fd = -1;
static atomic_flag log_lock = ATOMIC_FLAG_INIT;
static uintptr_t sqlite_from, sqlite_to;

/* --- orders ---------------------------------------------------------------------------------------- */

static int find_sqlite(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size, (void)data;
    if (!info->dlpi_name || !strstr(info->dlpi_name, "sqlcipher3")) return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
        sqlite_from = info->dlpi_addr + part->p_vaddr;
        sqlite_to = sqlite_from + part->p_memsz;
    }
    return 1;
}

/* Begin to watch `below`; `log_path` may be empty. Called once through ctypes, before files are opened. */
int shim_attach(const char *below, const char *control_path, const char *log_path) {
    int fd = syscall(SYS_openat, AT_FDCWD, control_path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) return -errno;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (page == MAP_FAILED) return -errno;
    if (*log_path) {
        log_fd = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (log_fd < 0) return -errno;
    }
    snprintf(folder, sizeof folder, "%s", below);
    folder_length = strlen(folder);
    dl_iterate_phdr(find_sqlite, NULL);
    control = page;
    return 0;
}

/* Whether the fault comes now; `kinds` has a bit for each mode that this step can suffer. */
static int struck(unsigned kinds, const char *step, const char *path) {
    if (!control) return NOTHING;
    int mode = (int)atomic_load(&control->mode);
    if (mode == NOTHING || !(kinds & (1u << mode))) return NOTHING;
    int64_t left = atomic_fetch_sub(&control->countdown, 1) - 1;
    if (left > 0 || (left < 0 && !atomic_load(&control->sticky))) return NOTHING;
    if (atomic_fetch_add(&control->fired, 1) == 0) {
        size_t length = strlen(path);
        const char *tail = length > 48 ? path + length - 48 : path;
        snprintf(control->at, sizeof control->at, "%s %s", step, tail);
    }
    if (mode == KILL) {
        syscall(SYS_kill, getpid(), SIGKILL);
        for (;;) pause();
    }
    return mode;
}

/* --- the log --------------------------------------------------------------------------------------- */

struct entry { /* followed by the path and, for a write, by its octets */
    uint8_t kind; /* w write, t truncate, s sync, r rename (path \0 new path), u unlink, c create, m mark */
    uint8_t spare[3];
    uint32_t path_length, length;
    uint32_t spare2;
    uint64_t offset;
};

static void note(char kind, const char *path, size_t path_length, uint64_t offset, const void *octets,
                 size_t length) {
    if (log_fd < 0) return;
    struct entry entry = {.kind = (uint8_t)kind, .path_length = (uint32_t)path_length,
                          .length = (uint32_t)length, .offset = offset};
    struct iovec parts[3] = {{&entry, sizeof entry}, {(void *)path, path_length}, {(void *)octets, length}};
    while (atomic_flag_test_and_set(&log_lock)) { }
    syscall(SYS_writev, log_fd, parts, 3);
    atomic_flag_clear(&log_lock);
}

/* A mark of the harness between the steps, for example "this was acknowledged". */
void shim_mark(const char *text) { note('m', text, strlen(text), 0, NULL, 0); }

static const char *ours(int fd) {
    return control && fd >= 0 && fd < FDS && paths[fd][0] ? paths[fd] : NULL;
}

static const char *below(const char *path) {
    if (!control || strncmp(path, folder, folder_length) != 0 || path[folder_length] != '/') return NULL;
    return path + folder_length + 1;
}

static int step(unsigned kinds, const char *name, const char *path) {
    if (control->only[0] && strncmp(path, control->only, strlen(control->only)) != 0) return NOTHING;
    atomic_fetch_add(&control->steps, 1);
    return struck(kinds | 1u << KILL, name, path);
}

/* --- files ----------------------------------------------------------------------------------------- */

static int opened(int at, const char *path, int flags, mode_t mode) {
    const char *inner = below(path);
    int is_new = 0;
    if (inner && (flags & O_CREAT)) {
        struct stat status;
        is_new = syscall(SYS_newfstatat, at, path, &status, 0) != 0;
        if (is_new && step(1u << NO_SPACE, "create", inner) != NOTHING) {
            errno = ENOSPC;
            return -1;
        }
    }
    int fd = (int)syscall(SYS_openat, at, path, flags, mode);
    if (fd >= 0 && fd < FDS) {
        paths[fd][0] = 0;
        if (inner) {
            snprintf(paths[fd], PATH, "%s", inner);
            if (is_new) note('c', inner, strlen(inner), 0, NULL, 0);
            else if (flags & O_TRUNC) note('t', inner, strlen(inner), 0, NULL, 0);
        } else if (control && strcmp(path, folder) == 0) {
            strcpy(paths[fd], ".");
        }
    }
    return fd;
}

#define OPEN(name, before, at)                                   \
    int name before {                                            \
        mode_t mode = 0;                                         \
        if (flags & (O_CREAT | O_TMPFILE)) {                     \
            va_list more;                                        \
            va_start(more, flags);                               \
            mode = va_arg(more, mode_t);                         \
            va_end(more);                                        \
        }                                                        \
        return opened(at, path, flags, mode);                    \
    }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD)
OPEN(openat, (int at, const char *path, int flags, ...), at)
OPEN(openat64, (int at, const char *path, int flags, ...), at)

int close(int fd) {
    if (fd >= 0 && fd < FDS) paths[fd][0] = 0;
    return (int)syscall(SYS_close, fd);
}

static ssize_t written(int fd, const void *octets, size_t length, off_t offset, int at) {
    const char *path = ours(fd);
    if (path) {
        if (!at) offset = (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
        switch (step(1u << NO_SPACE | 1u << WRITE_ERROR | 1u << SHORT_WRITE, "write", path)) {
        case NO_SPACE: errno = ENOSPC; return -1;
        case WRITE_ERROR: errno = EIO; return -1;
        case SHORT_WRITE: length = length > 1 ? length / 2 : length; break;
        }
    }
    ssize_t done = at ? syscall(SYS_pwrite64, fd, octets, length, offset) : syscall(SYS_write, fd, octets, length);
    if (path && done > 0) note('w', path, strlen(path), (uint64_t)offset, octets, (size_t)done);
    return done;
}

ssize_t write(int fd, const void *octets, size_t length) { return written(fd, octets, length, 0, 0); }
ssize_t pwrite(int fd, const void *octets, size_t length, off_t offset) {
    return written(fd, octets, length, offset, 1);
}
ssize_t pwrite64(int fd, const void *octets, size_t length, off64_t offset) {
    return written(fd, octets, length, offset, 1);
}

static int truncated(int fd, off_t length) {
    const char *path = ours(fd);
    if (path && step(1u << WRITE_ERROR, "truncate", path) != NOTHING) {
        errno = EIO;
        return -1;
    }
    int done = (int)syscall(SYS_ftruncate, fd, length);
    if (path && done == 0) note('t', path, strlen(path), (uint64_t)length, NULL, 0);
    return done;
}
int ftruncate(int fd, off_t length) { return truncated(fd, length); }
int ftruncate64(int fd, off64_t length) { return truncated(fd, length); }

static int synced(int fd, long call) {
    const char *path = ours(fd);
    if (path) {
        atomic_fetch_add(&control->syncs, 1);
        if (step(1u << SYNC_ERROR, "sync", path) != NOTHING) {
            errno = EIO;
            return -1;
        }
    }
    int done = (int)syscall(call, fd);
    if (path && done == 0) note('s', path, strlen(path), 0, NULL, 0);
    return done;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int renamed(const char *from, const char *to) {
    const char *inner = below(from), *target = below(to);
    if (inner && target) {
        if (step(1u << NO_SPACE | 1u << WRITE_ERROR, "rename", inner) != NOTHING) {
            errno = EIO;
            return -1;
        }
    }
    int done = (int)syscall(SYS_rename, from, to);
    if (inner && target && done == 0) {
        char both[2 * PATH];
        int length = snprintf(both, sizeof both, "%s%c%s", inner, '\n', target);
        note('r', both, (size_t)length, 0, NULL, 0);
    }
    return done;
}
int rename(const char *from, const char *to) { return renamed(from, to); }

int unlink(const char *path) {
    const char *inner = below(path);
    if (inner) step(0, "unlink", inner);
    int done = (int)syscall(SYS_unlink, path);
    if (inner && done == 0) note('u', inner, strlen(inner), 0, NULL, 0);
    return done;
}

/* --- memory ---------------------------------------------------------------------------------------- */

extern void *__libc_malloc(size_t), *__libc_realloc(void *, size_t);

static int starved(void *caller) {
    uintptr_t from = (uintptr_t)caller;
    if (!control || from < sqlite_from || from >= sqlite_to) return 0;
    atomic_fetch_add(&control->allocations, 1);
    return struck(1u << NO_MEMORY, "allocation", "") != NOTHING;
}

void *malloc(size_t size) {
    if (starved(__builtin_return_address(0))) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_malloc(size);
}

void *realloc(void *old, size_t size) {
    if (starved(__builtin_return_address(0))) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_realloc(old, size);
}
