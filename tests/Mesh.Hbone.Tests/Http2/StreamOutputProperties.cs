using System.IO.Pipelines;
using FsCheck;
using FsCheck.Fluent;
using Mesh.Testing;

namespace Mesh.Hbone.Http2;

/// <summary>StreamOutput hands the connection what was written, in order, and holds its writer where it should.</summary>
public sealed class StreamOutputProperties
{
    private const int PauseAt = 64 * 1024;
    private const int ResumeAt = 32 * 1024;

    private sealed record Step(Does Does, int Size, int Hint);

    private enum Does
    {
        Advance,
        Write,
        Flush,
        Take,
        CancelPendingFlush,
        CancelToken,
    }

    private static readonly Gen<Step> Steps =
        from does in Gen.Elements(Does.Advance, Does.Advance, Does.Write, Does.Write, Does.Flush, Does.Take, Does.Take, Does.CancelPendingFlush, Does.CancelToken)
        from size in Gen.OneOf(Gen.Choose(0, 100), Gen.Choose(1_000, 10_000), Gen.Choose(8_000, 150_000))
        from hint in Gen.Elements(0, 0, 1, 5_000, 70_000)
        select new Step(does, size, hint);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_is_written_is_what_the_connection_takes(bool inline) => Check.One(
        Config.QuickThrowOnFailure.WithMaxTest(300).WithEndSize(80),
        Prop.ForAll(Steps.ArrayOf().ToArbitrary(), steps =>
        {
            var both = new Both(inline);
            foreach (var step in steps)
            {
                both.Do(step);
            }

            both.Finish();
        }));

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Closed_at_any_moment_it_wakes_the_writer_and_drops_what_is_left(bool inline) => Check.One(
        Config.QuickThrowOnFailure.WithMaxTest(200).WithEndSize(60),
        Prop.ForAll(Steps.ArrayOf().ToArbitrary(), steps =>
        {
            var both = new Both(inline);
            foreach (var step in steps)
            {
                both.Do(step);
            }

            both.Close();
        }));

    [Theory]
    [InlineData(false, 1)]
    [InlineData(true, 2)]
    public async Task One_who_writes_and_one_who_takes_at_the_same_time_lose_nothing(bool inline, int seed)
    {
        const long Total = 64 * 1024 * 1024;
        var output = StreamPipes.Make(inline).Output;
        var writing = Task.Run(async () =>
        {
            var random = new Random(seed);
            for (var sent = 0L; sent < Total;)
            {
                var size = (int)Math.Min(Total - sent, random.Next(1, 100_000));
                StreamPipes.Fill(output.GetSpan(size)[..size], sent);
                output.Advance(size);
                sent += size;
                Assert.False((await output.FlushAsync().InTime()).IsCompleted);
            }

            await output.CompleteAsync();
        });
        var place = 0L;
        var takes = new Random(seed + 100);
        await Eventually.Until("everything is taken", () =>
        {
            var (length, first, completed) = output.Pending;
            Assert.InRange(length, 0, PauseAt + 100_000);
            while (length > 0)
            {
                place += Take(output, takes.Next(2) == 0 ? first : takes.Next(1, length + 1), place);
                (length, first, completed) = output.Pending;
            }

            return completed && length == 0;
        });
        await writing.InTime();
        Assert.Equal(Total, place);
    }

    // As the connection does: in place when it lies in one piece, otherwise a copy. What stands before it may be written over.
    private static int Take(StreamOutput output, int count, long place)
    {
        if (output.Peek(count) is { IsEmpty: false } frame)
        {
            frame.Span[..FrameHeader.Size].Fill(0xFF);
            StreamPipes.Check(frame.Span[FrameHeader.Size..], place);
        }
        else
        {
            var copy = new byte[count];
            output.CopyTo(copy);
            StreamPipes.Check(copy, place);
        }

        output.AdvanceTo(count);
        return count;
    }

    /// <summary>Writer and connection, and what they must see.</summary>
    private sealed class Both(bool inline)
    {
        private readonly StreamOutput _output = StreamPipes.Make(inline).Output;
        private long _written;
        private long _flushed;
        private long _taken;
        private bool _cancelNext;
        private (Task<FlushResult> Flush, CancellationTokenSource Stop)? _waiting;

        private long Pending => _flushed - _taken;

        public void Do(Step step)
        {
            switch (step.Does)
            {
                case Does.Advance when _waiting is null:
                    var memory = _output.GetMemory(step.Hint);
                    Assert.True(memory.Length >= Math.Max(step.Hint, 1));
                    var count = Math.Min(step.Size, memory.Length);
                    StreamPipes.Fill(memory.Span[..count], _written);
                    _output.Advance(count);
                    _written += count;
                    Assert.Equal(_written - _flushed, _output.UnflushedBytes);
                    break;
                case Does.Write when _waiting is null:
                    var octets = new byte[step.Size];
                    StreamPipes.Fill(octets, _written);
                    _written += octets.Length;
                    Flush(stop => _output.WriteAsync(octets, stop));
                    break;
                case Does.Flush when _waiting is null:
                    Flush(stop => _output.FlushAsync(stop));
                    break;
                case Does.Take when Pending > 0:
                    var (length, first, _) = _output.Pending;
                    Assert.Equal(Pending, length);
                    Assert.InRange(first, 1, length);
                    _taken += StreamOutputProperties.Take(_output, step.Hint == 0 ? first : (int)Math.Min(Math.Max(step.Size, 1), Pending), _taken);
                    CheckWait();
                    break;
                case Does.CancelPendingFlush:
                    _output.CancelPendingFlush();
                    if (_waiting is { } waiting)
                    {
                        Assert.True(StreamPipes.Ends(waiting.Flush) && waiting.Flush.Result.IsCanceled);
                        _waiting = null;
                    }
                    else
                    {
                        _cancelNext = true;
                    }

                    break;
                case Does.CancelToken when _waiting is { } pending:
                    pending.Stop.Cancel();
                    Assert.True(StreamPipes.Ends(pending.Flush) && pending.Flush.IsCanceled);
                    _waiting = null;
                    break;
                default:
                    break;
            }
        }

        public void Finish()
        {
            while (Pending > 0)
            {
                Do(new Step(Does.Take, 0, 0));
            }

            Assert.Null(_waiting);
            _output.Complete();
            _flushed = _written;
            Assert.True(_output.Pending.IsCompleted);
            while (Pending > 0)
            {
                Do(new Step(Does.Take, 0, 0));
            }

            Assert.Equal((0, 0, true), _output.Pending);
            Assert.Throws<InvalidOperationException>(() => _output.GetMemory());
        }

        public void Close()
        {
            _output.Close();
            if (_waiting is { } waiting)
            {
                Assert.True(StreamPipes.Ends(waiting.Flush) && waiting.Flush.Result.IsCompleted);
            }

            for (var writes = 0; writes < 3; writes++)
            {
                var flush = _output.WriteAsync(new byte[100_000]).AsTask();
                Assert.True(flush.IsCompletedSuccessfully && flush.Result.IsCompleted);
                Assert.Equal((0, 0), (_output.Pending.Length, _output.Pending.First));
            }

            _output.Complete();
        }

        private void Flush(Func<CancellationToken, ValueTask<FlushResult>> flush)
        {
            var stop = new CancellationTokenSource();
            var task = flush(stop.Token).AsTask();
            _flushed = _written;
            if (_cancelNext || Pending < PauseAt)
            {
                Assert.True(task.IsCompletedSuccessfully);
                Assert.Equal((_cancelNext, false), (task.Result.IsCanceled, task.Result.IsCompleted));
                _cancelNext = false;
                return;
            }

            Assert.False(task.IsCompleted);
            _waiting = (task, stop);
        }

        private void CheckWait()
        {
            if (_waiting is { } waiting)
            {
                if (Pending <= ResumeAt)
                {
                    Assert.True(StreamPipes.Ends(waiting.Flush));
                }

                Assert.Equal(Pending <= ResumeAt, waiting.Flush.IsCompleted);
                if (waiting.Flush.IsCompleted)
                {
                    Assert.Equal((false, false), (waiting.Flush.Result.IsCanceled, waiting.Flush.Result.IsCompleted));
                    _waiting = null;
                }
            }
        }
    }
}
