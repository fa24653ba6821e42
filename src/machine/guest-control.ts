// The guest's half of the control channel (host's half: control.ts): a small server on a serial line that runs
// commands for whoever holds the other end. It needs neither network nor mos, and is there before both.
// Perl, because Debian's perl-base is in every installation and can wait on many descriptors at once.
//
// Lines in both directions: TYPE ID BASE64. Base64, so that nothing a terminal line does to bytes can matter, and
// lines, so that a reader finds its place again after a guest that went down in the middle of one.
//   to the guest:    arg ID part of argv (joined by NUL) · run ID · in ID bytes of stdin · eof ID · kill ID
//   from the guest:  hello BOOT-ID · out ID bytes · err ID bytes · end ID exit code (128 + signal number) · ack 0
// Every line to the guest is acknowledged before the next is sent, and has at most maxLineLength characters: UML's
// terminal driver stops listening for ever once its 4096 bytes of input have been full.

/** Characters in a line to the guest, its end included; 128 below the driver's buffer it is throttled. */
export const maxLineLength = 3500;

const server = (line: string): string => String.raw`#!/usr/bin/perl
# Runs commands for the holder of the other end of a serial line. For virtual machines under test only.
use strict;
use warnings;
use Fcntl;
use POSIX qw(:sys_wait_h);

my $path = "${line}";
sysopen(my $tty, $path, O_RDWR | O_NOCTTY) or die "$path: $!";
system("stty", "-F", $path, "raw", "-echo") == 0 or die "stty failed";
$SIG{PIPE} = "IGNORE";
pipe(my $woken, my $wake) or die "pipe: $!";
fcntl($_, F_SETFL, fcntl($_, F_GETFL, 0) | O_NONBLOCK) for $woken, $wake;
$SIG{CHLD} = sub { syswrite $wake, "." };

sub to_base64 {
  my $text = pack "u", $_[0];
  $text =~ s/^.//mg;
  $text =~ s/\n//g;
  $text =~ tr/\x60 -_/AA-Za-z0-9+\//;
  my $spare = (3 - length($_[0]) % 3) % 3;
  substr($text, -$spare) = "=" x $spare if $spare;
  return $text;
}

sub from_base64 {
  my $text = shift;
  my $length = int(($text =~ tr/A-Za-z0-9+\///) * 3 / 4);
  $text =~ tr/A-Za-z0-9+\///cd;
  $text =~ tr/A-Za-z0-9+\// -_/;
  my $bytes = "";
  $bytes .= unpack("u", chr(32 + int(length($1) * 3 / 4)) . $1) while $text =~ /(.{1,60})/g;
  return substr $bytes, 0, $length;
}

sub say_line {
  my $text = join(" ", @_) . "\n";
  while (length $text) {
    my $n = syswrite $tty, $text;
    if (defined $n) { substr($text, 0, $n) = "" }
    elsif (!$!{EINTR} && !$!{EAGAIN}) { die "write: $!" }
  }
}

my (%jobs, %by_pid, %arguments);

sub start {
  my ($id, @argv) = @_;
  pipe(my $in_r, my $in_w) or die;
  pipe(my $out_r, my $out_w) or die;
  pipe(my $err_r, my $err_w) or die;
  my $pid = fork // die "fork: $!";
  if ($pid == 0) {
    POSIX::setsid();
    $SIG{$_} = "DEFAULT" for qw(PIPE CHLD);
    POSIX::dup2(fileno $in_r, 0);
    POSIX::dup2(fileno $out_w, 1);
    POSIX::dup2(fileno $err_w, 2);
    exec { $argv[0] } @argv or do { print STDERR "$argv[0]: $!\n"; POSIX::_exit(127) };
  }
  close $_ for $in_r, $out_w, $err_w;
  fcntl($_, F_SETFL, fcntl($_, F_GETFL, 0) | O_NONBLOCK) for $in_w, $out_r, $err_r;
  $jobs{$id} = { pid => $pid, in => $in_w, out => $out_r, err => $err_r, input => "", eof => 0 };
  $by_pid{$pid} = $id;
}

sub forward {
  my ($id, $stream) = @_;
  my $handle = $jobs{$id}{$stream} // return 0;
  my $n = sysread $handle, my $bytes, 32768;
  if ($n) { say_line($stream, $id, to_base64($bytes)); return 1 }
  if (defined $n) { close $handle; delete $jobs{$id}{$stream} }
  return 0;
}

sub feed {
  my $job = shift;
  my $handle = $job->{in} // return;
  if (length $job->{input}) {
    my $n = syswrite $handle, $job->{input};
    if (defined $n) { substr($job->{input}, 0, $n) = "" }
    elsif (!$!{EAGAIN} && !$!{EINTR}) { close $handle; delete $job->{in}; $job->{input} = "" }
  }
  if ($job->{in} && $job->{eof} && !length $job->{input}) { close $handle; delete $job->{in} }
}

sub reap {
  while ((my $pid = waitpid(-1, WNOHANG)) > 0) {
    my $code = $? & 127 ? 128 + ($? & 127) : $? >> 8;
    my $id = delete $by_pid{$pid} // next;
    for my $stream (qw(out err)) { 1 while forward($id, $stream) }
    delete $jobs{$id};
    say_line("end", $id, to_base64($code));
  }
}

sub obey {
  my ($type, $id, $text) = split / /, $_[0];
  my $data = from_base64($text // "");
  if ($type eq "arg") { $arguments{$id} .= $data }
  if ($type eq "run") { start($id, split /\0/, delete $arguments{$id}, -1) }
  my $job = $jobs{$id // ""} // return;
  if ($type eq "in") { $job->{input} .= $data }
  if ($type eq "eof") { $job->{eof} = 1 }
  if ($type eq "kill") { kill "KILL", -$job->{pid} }
}

open(my $boot, "<", "/proc/sys/kernel/random/boot_id") or die "boot_id: $!";
chomp(my $boot_id = <$boot>);
close $boot;
# An empty line first: whatever half line a former server left is ended by it.
say_line("");
say_line("hello", $boot_id, "");

my $pending = "";
for (;;) {
  my ($readable, $writable) = ("", "");
  vec($readable, fileno $_, 1) = 1 for $tty, $woken;
  for my $job (values %jobs) {
    for my $stream (qw(out err)) { vec($readable, fileno $job->{$stream}, 1) = 1 if $job->{$stream} }
    vec($writable, fileno $job->{in}, 1) = 1 if $job->{in} && (length $job->{input} || $job->{eof});
  }
  # While jobs run, twice a second: a handler of Perl's runs between its operations, so a signal that comes after the
  # last of them and before the kernel waits writes nothing to the pipe.
  my $ready = select($readable, $writable, undef, %jobs ? 0.5 : undef);
  reap() if $ready == 0;
  next if $ready <= 0;
  for my $id (keys %jobs) {
    feed($jobs{$id}) if $jobs{$id}{in} && vec($writable, fileno $jobs{$id}{in}, 1);
    for my $stream (qw(out err)) {
      forward($id, $stream) if $jobs{$id}{$stream} && vec($readable, fileno $jobs{$id}{$stream}, 1);
    }
  }
  if (vec($readable, fileno $tty, 1)) {
    sysread($tty, $pending, 65536, length $pending) or die "the line was closed";
    while ((my $end = index $pending, "\n") >= 0) {
      my $text = substr $pending, 0, $end;
      substr($pending, 0, $end + 1) = "";
      next unless length $text;
      obey($text);
      say_line("ack", 0, "");
    }
  }
  if (vec($readable, fileno $woken, 1)) { sysread $woken, my $dots, 1024; reap() }
}
`;

const unit = `[Unit]
Description=Control channel of the virtual machine provider
DefaultDependencies=no
Before=sysinit.target

[Service]
ExecStart=/usr/lib/mos-machine/control
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root LC_ALL=C.UTF-8
Restart=always
RestartSec=0
OOMScoreAdjust=-500

[Install]
WantedBy=sysinit.target
`;

interface GuestFile {
  /** Absolute path inside the guest. */
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
  readonly content: string;
}

const unitName = "mos-machine-control.service";

/**
 * The files a guest's disk needs so that a provider of this room can control it.
 * @param line the serial line inside the guest whose other end the provider holds
 */
export function guestControlFiles(line: string): readonly GuestFile[] {
  return [
    { path: "/usr/lib/mos-machine/control", mode: 0o755, content: server(line) },
    { path: `/etc/systemd/system/${unitName}`, mode: 0o644, content: unit },
  ];
}

/** The link that enables them: where it is in the guest, and what it says. */
export const guestControlLink = {
  path: `/etc/systemd/system/sysinit.target.wants/${unitName}`,
  target: `../${unitName}`,
} as const;
