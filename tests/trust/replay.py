"""What a power cut could have left of a directory, from the log that shim.c keeps.

What was flushed before the cut is there: a file's bytes by a flush of the file, its name by a flush of the folder that has it. Of what was not, anything
may be there (ALICE, OSDI 2014): nothing, all, what came first, or an arbitrary part of it, and of a write an arbitrary part of its sectors. A rename is
there whole or not at all."""
import os, struct

OPEN, WRITE, TRUNCATE, SYNC_BEGIN, SYNC_END, RENAME, LINK, UNLINK, MKDIR, RMDIR = range(1, 11)
HEAD = struct.Struct("<BIQI")
O_CREAT, O_TRUNC = os.O_CREAT, os.O_TRUNC
MODES = ("none", "all", "first", "any", "torn")


class File:
    def __init__(self):
        self.kept = bytearray()  # flushed
        self.loose = []          # (offset, bytes) or (length, None), not flushed yet

    @staticmethod
    def apply(content, op):
        at, data = op
        if data is None:
            del content[at:]
            content.extend(bytes(max(0, at - len(content))))
        else:
            content.extend(bytes(max(0, at - len(content))))
            content[at:at + len(data)] = data

    def flush(self, n):
        for op in self.loose[:n]:
            self.apply(self.kept, op)
        del self.loose[:n]

    def left(self, mode, rng):
        content = bytearray(self.kept)
        for op in choose(self.loose, mode, rng):
            if mode == "torn" and op[1] is not None:
                size = rng.choice((512, 4096))
                for at in range(0, len(op[1]), size):
                    if rng.random() < 0.5:
                        self.apply(content, (op[0] + at, op[1][at:at + size]))
            else:
                self.apply(content, op)
        return content


class Folder:
    def __init__(self):
        self.now, self.kept = {}, {}


def choose(ops, mode, rng):
    if mode == "none":
        return []
    if mode == "all":
        return list(ops)
    if mode == "first":
        return list(ops[:rng.randint(0, len(ops))])
    return [op for op in ops if rng.random() < 0.5]


class Disk:
    """The directory as of the records taken so far; `base`: what it had before, all of it flushed."""

    def __init__(self, base=None):
        self.root = self.load(base) if base else Folder()
        self.handles, self.begun = {}, {}
        self.names = []  # changes of names not flushed yet: [(folder, name, File, Folder or None), ...] each

    def load(self, path):
        folder = Folder()
        for entry in os.scandir(path):
            if entry.is_dir():
                what = self.load(entry.path)
            else:
                what = File()
                with open(entry.path, "rb") as f:
                    what.kept += f.read()
            folder.now[entry.name] = folder.kept[entry.name] = what
        return folder

    def walk(self, path):
        at = self.root
        for part in path.split("/") if path else []:
            at = at.now[part]
        return at

    def split(self, path):
        above, _, name = path.rpartition("/")
        return self.walk(above), name

    def change(self, *changes):
        for folder, name, what in changes:
            if what is None:
                folder.now.pop(name, None)
            else:
                folder.now[name] = what
        self.names.append(changes)

    @staticmethod
    def settle(changes, kept):
        for folder, name, what in changes:
            entries = kept(folder)
            if what is None:
                entries.pop(name, None)
            else:
                entries[name] = what

    def take(self, kind, handle, number, data):
        if kind == OPEN:
            path = bytes(data).decode()
            folder, name = self.split(path) if path else (None, None)
            if folder and name not in folder.now:
                if not number & O_CREAT:
                    raise ValueError("opened without having been made: " + path)
                self.change((folder, name, File()))
            self.handles[handle] = self.walk(path)
            if number & O_TRUNC:
                self.handles[handle].loose.append((0, None))
        elif kind == WRITE:
            self.handles[handle].loose.append((number, bytes(data)))
        elif kind == TRUNCATE:
            self.handles[handle].loose.append((number, None))
        elif kind == SYNC_BEGIN:
            what = self.handles[handle]
            self.begun[handle] = len(what.loose) if isinstance(what, File) else list(self.names)
        elif kind == SYNC_END:
            what, begun = self.handles[handle], self.begun.pop(handle)
            if isinstance(what, File):
                what.flush(begun)
            else:
                for changes in begun:
                    if changes in self.names and any(folder is what for folder, _, _ in changes):
                        self.settle(changes, lambda folder: folder.kept)
                        self.names.remove(changes)
        else:
            self.rename(kind, data)

    def rename(self, kind, data):
        one, _, two = bytes(data).decode().partition("\0")
        if not one:
            return  # the directory itself
        folder, name = self.split(one)
        if kind == RENAME:
            to, new = self.split(two)
            self.change((to, new, folder.now[name]), (folder, name, None))
        elif kind == LINK:
            to, new = self.split(two)
            self.change((to, new, folder.now[name]))
        elif kind in (UNLINK, RMDIR):
            self.change((folder, name, None))
        else:
            self.change((folder, name, Folder()))

    def left(self, to, mode, rng):
        """Makes the directory `to` as a cut now could have left it."""
        entries, files = {}, {}

        def kept(folder):
            return entries.setdefault(id(folder), dict(folder.kept))

        for changes in choose(self.names, mode, rng):
            self.settle(changes, kept)

        def write(folder, path):
            os.mkdir(path, 0o700)
            for name, what in kept(folder).items():
                at = os.path.join(path, name)
                if isinstance(what, Folder):
                    write(what, at)
                elif id(what) in files:
                    os.link(files[id(what)], at)
                else:
                    files[id(what)] = at
                    with open(at, "wb") as f:
                        f.write(what.left(mode, rng))
                    os.chmod(at, 0o600)

        write(self.root, to)


def records(log):
    """(place behind it, kind, handle, number, bytes) of each record that is whole."""
    with open(log, "rb") as f:
        data = memoryview(f.read())
    at = 0
    while at + HEAD.size <= len(data):
        kind, handle, number, n = HEAD.unpack_from(data, at)
        at += HEAD.size + n
        if at > len(data):
            return
        yield at, kind, handle, number, data[at - n:at]


def places(log, n, rng, least=0, most=float("inf")):
    """Random places in the log to cut at; half of them just behind a change of names, where order matters most."""
    every, names, since = [], [], 99
    for at, kind, *_ in records(log):
        since = 0 if kind in (RENAME, LINK, UNLINK, MKDIR) else since + 1
        if least <= at <= most:
            every.append(at)
            if since < 4:
                names.append(at)
    return [rng.choice(names if names and i % 2 else every) for i in range(n)] if every else []


def cuts(log, places, base=None):
    """The disk at each of these places of the log, ascending; (place, Disk)."""
    disk, wanted = Disk(base), sorted(places)
    for at, *record in records(log):
        while wanted and at > wanted[0]:
            yield wanted.pop(0), disk
        disk.take(*record)
    for place in wanted:
        yield place, disk
