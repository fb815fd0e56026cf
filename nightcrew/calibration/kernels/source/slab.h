/* A slab: the same pixels of every frame, read from files where they are not in memory. */
#ifndef NIGHTCREW_SLAB_H
#define NIGHTCREW_SLAB_H

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"

typedef struct {
    char *rows;    /* stored pixels of the frames that lie in files */
    frame_t *part; /* the frames, their pointers moved to the slab */
    long largest;  /* pixels of the largest slab */
} slab_t;

/* Read n bytes at an offset; 0 when all were there. */
static int read_all(int fd, char *to, size_t n, int64_t offset)
{
    while (n) {
        ssize_t got = pread(fd, to, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return -1;
        to += got;
        n -= (size_t)got;
        offset += got;
    }
    return 0;
}

/* Read stored pixels of a frame from its file; 0 when all were there and the file is still the same. */
static int read_pixels(const frame_t *f, char *to, size_t n, int64_t offset)
{
    struct stat status;
    if (f->fd >= 0)
        return read_all(f->fd, to, n, offset);
    int fd = open(f->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int failed = fstat(fd, &status) || status.st_size != f->size;
#ifdef __linux__
    failed = failed || status.st_mtim.tv_sec * 1000000000L + status.st_mtim.tv_nsec != f->mtime_ns;
#endif
    failed = failed || read_all(fd, to, n, offset);
    close(fd);
    return failed;
}

static size_t slab_room(const frame_t *frames, int n, long largest)
{
    size_t room = ROUNDED(n * sizeof(frame_t));
    for (int i = 0; i < n; i++)
        room += frames[i].data ? 0 : ROUNDED(largest * kind_size(frames[i].kind));
    return room;
}

static slab_t slab_make(const frame_t *frames, int n, long largest, char **scratch)
{
    slab_t slab = {.part = carve(scratch, n * sizeof(frame_t)), .largest = largest};
    slab.rows = carve(scratch, slab_room(frames, n, largest) - ROUNDED(n * sizeof(frame_t)));
    return slab;
}

/* Make slab->part describe pixels [first, first + size); 0, or i + 1 when frame i cannot be read. */
static int slab_read(slab_t *slab, const frame_t *frames, int n, long first, long size)
{
    char *to = slab->rows;
    for (int i = 0; i < n; i++) {
        frame_t *f = &slab->part[i];
        long item = kind_size(frames[i].kind);
        *f = frames[i];
        if (f->data)
            f->data = (const char *)f->data + first * item;
        else {
            if (read_pixels(f, to, (size_t)(size * item), f->offset + first * item))
                return i + 1;
            f->data = to;
            to += ROUNDED(slab->largest * item);
        }
        f->mask = f->mask ? f->mask + first : NULL;
        f->sigma = f->sigma ? f->sigma + first : NULL;
        f->divide = f->divide ? f->divide + first : NULL;
        for (int p = 0; p < f->n_planes; p++)
            f->plane[p] += first;
    }
    return 0;
}

#endif
