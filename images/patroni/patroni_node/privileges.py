"""Root's part of a start, and giving root up for good.

Root is needed to read the secrets file and where a volume comes with other owners; nothing else runs as root.
"""

import grp
import os
import pwd

USER = "postgres"


def prepare_as_root(data: str, private: str, sockets: str) -> None:
    """Makes the directories that PostgreSQL's user works in, and hands them over to it."""
    user = pwd.getpwnam(USER)
    for path, mode in ((data, 0o700), (private, 0o700), (sockets, 0o755)):
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        _hand_over(path, user.pw_uid, user.pw_gid)


def become_postgres() -> None:
    """Gives root up. There is no way back, for this process and its children."""
    user = pwd.getpwnam(USER)
    if os.geteuid() == 0:
        groups = [group.gr_gid for group in grp.getgrall() if USER in group.gr_mem]
        os.setgroups(sorted({user.pw_gid, *groups}))
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    os.environ.update(HOME=user.pw_dir, USER=USER, LOGNAME=USER)
    os.umask(0o077)


def _hand_over(path: str, uid: int, gid: int) -> None:
    # A large volume is only walked through if its top belongs to someone else, for the top is done last. Symbolic
    # links are handed over themselves, not what they point to.
    if os.stat(path).st_uid == uid:
        return
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            os.lchown(os.path.join(folder, name), uid, gid)
    os.chown(path, uid, gid)
