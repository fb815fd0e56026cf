/* A slab: the same pixels of every frame, read from files where they are not in memory. */
#ifndef NIGHTCREW_SLAB_H
#define NIGHTCREW_SLAB_H

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"

typedef struct {
    char *rows;    /* stored pixels of the frames that have to be read or cut */
    frame_t *part; /* the frames, their pointers moved to the slab */
    long most, nx; /* rows of the largest slab, pixels of a row */
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

static long stored_row(const frame_t *f, long nx) { return f->row_pixels ? f->row_pixels : nx; }

static size_t slab_room(const frame_t *frames, int n, long most, long nx)
{
    size_t room = ROUNDED(n * sizeof(frame_t));
    for (int i = 0; i < n; i++)
        room += frames[i].data && !frames[i].row_pixels ? 0 : ROUNDED(most * stored_row(&frames[i], nx) * kind_size(frames[i].kind));
    return room;
}

static slab_t slab_make(const frame_t *frames, int n, long most, long nx, char **scratch)
{
    slab_t slab = {.part = carve(scratch, n * sizeof(frame_t)), .most = most, .nx = nx};
    slab.rows = carve(scratch, slab_room(frames, n, most, nx) - ROUNDED(n * sizeof(frame_t)));
    return slab;
}

/* Rows [y, y + n_rows) of a frame, read from its file or cut out of its array, one behind the other at to; 0 when they are there. */
static int fetch_rows(const frame_t *f, long y, long n_rows, long nx, char *to)
{
    long item = kind_size(f->kind), stored = stored_row(f, nx) * item, wanted = nx * item;
    const char *from = to;
    if (f->data)
        from = (const char *)f->data + y * stored;
    else if (read_pixels(f, to, (size_t)(n_rows * stored), f->offset + y * stored))
        return -1;
    for (long row = 0; f->row_pixels && row < n_rows; row++)
        memmove(to + row * wanted, from + row * stored + f->first_column * item, (size_t)wanted);
    return 0;
}

/* Make slab->part describe rows [y, y + n_rows); 0, or i + 1 when frame i cannot be read. */
static int slab_read(slab_t *slab, const frame_t *frames, int n, long y, long n_rows)
{
    char *to = slab->rows;
    long first = y * slab->nx;
    for (int i = 0; i < n; i++) {
        frame_t *f = &slab->part[i];
        long item = kind_size(frames[i].kind);
        *f = frames[i];
        if (f->data && !f->row_pixels)
            f->data = (const char *)f->data + first * item;
        else {
            if (fetch_rows(f, y, n_rows, slab->nx, to))
                return i + 1;
            f->data = to;
            to += ROUNDED(slab->most * stored_row(f, slab->nx) * item);
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
