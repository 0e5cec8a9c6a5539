using System.Buffers;
using System.IO.Pipelines;
using FsCheck;
using FsCheck.Fluent;
using Mesh.Testing;

namespace Mesh.Hbone.Http2;

/// <summary>StreamInput does what a Pipe does, whatever is done in whatever order.</summary>
public sealed class StreamInputProperties
{
    /// <summary>What is done next. The share says how much of what is there is consumed, and of the rest examined, in hundredths.</summary>
    private sealed record Step(Does Does, int Size, bool Adjacent, int Consumed, int Examined);

    private enum Does
    {
        Append,
        Wake,
        Read,
        TryRead,
        CancelPendingRead,
        CancelToken,
    }

    private static readonly Gen<Step> Steps =
        from does in Gen.Elements(Does.Append, Does.Append, Does.Append, Does.Wake, Does.Read, Does.Read, Does.TryRead, Does.CancelPendingRead, Does.CancelToken)
        from size in Gen.OneOf(Gen.Choose(1, 100), Gen.Choose(1_000, 13_000), Gen.Choose(12_000, 40_000))
        from adjacent in Gen.Elements(true, true, false)
        from consumed in Gen.Elements(0, 30, 100, 100)
        from examined in Gen.Elements(0, 50, 100, 100)
        select new Step(does, size, adjacent, consumed, examined);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Any_sequence_of_appends_and_reads_goes_as_on_a_pipe(bool inline) => Check.One(
        Config.QuickThrowOnFailure.WithMaxTest(300).WithEndSize(80),
        Prop.ForAll(Steps.ArrayOf().ToArbitrary(), steps =>
        {
            using var pair = new Pair(inline);
            foreach (var step in steps)
            {
                pair.Do(step);
            }

            pair.Finish();
        }));

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_failure_comes_behind_what_was_there_before_it(bool inline) => Check.One(
        Config.QuickThrowOnFailure.WithMaxTest(200).WithEndSize(40),
        Prop.ForAll(Steps.ArrayOf().ToArbitrary(), steps =>
        {
            using var pair = new Pair(inline);
            foreach (var step in steps)
            {
                pair.Do(step);
            }

            pair.Fail();
        }));

    [Theory]
    [InlineData(false, 1)]
    [InlineData(true, 2)]
    public async Task One_who_appends_and_one_who_reads_at_the_same_time_lose_nothing(bool inline, int seed)
    {
        const long Total = 64 * 1024 * 1024;
        var stream = StreamPipes.Make(inline);
        var appending = Task.Run(() => Append(stream.Input, new Random(seed), Total));
        var random = new Random(seed + 100);
        var place = 0L;
        while (true)
        {
            var result = await stream.Input.ReadAsync().InTime();
            var taken = random.Next(3) == 0 && !result.IsCompleted ? random.NextInt64(result.Buffer.Length + 1) : result.Buffer.Length;
            var at = place;
            foreach (var segment in result.Buffer.Slice(0, taken))
            {
                StreamPipes.Check(segment.Span, at);
                at += segment.Length;
            }

            place = at;
            stream.Input.AdvanceTo(result.Buffer.GetPosition(taken), result.Buffer.End);
            if (result.IsCompleted)
            {
                break;
            }

            if (random.Next(50) == 0)
            {
                stream.Input.CancelPendingRead();
            }
        }

        await appending.InTime();
        Assert.Equal(Total, place);
    }

    private static void Append(StreamInput input, Random random, long total)
    {
        var buffer = ReadBuffer.Rent(ReadBuffer.DefaultSize);
        var end = 0;
        for (var sent = 0L; sent < total;)
        {
            var size = (int)Math.Min(total - sent, random.Next(2) == 0 ? random.Next(1, 500) : random.Next(1, 40_000));
            if (buffer.Array.Length - end < size)
            {
                buffer.Release();
                buffer = ReadBuffer.Rent(ReadBuffer.DefaultSize);
                end = 0;
            }

            var octets = buffer.Array.AsMemory(end, size);
            StreamPipes.Fill(octets.Span, sent);
            Assert.True(input.TryAppend(buffer, octets));
            (end, sent) = (end + size, sent + size);
            input.Wake();
        }

        buffer.Release();
        input.End(null);
    }

    /// <summary>The same done to both.</summary>
    private sealed class Pair : IDisposable
    {
        private readonly Http2Stream _stream;
        private readonly Pipe _pipe = new(new PipeOptions(pauseWriterThreshold: 0, readerScheduler: PipeScheduler.Inline, useSynchronizationContext: false));
        private readonly List<ReadBuffer> _buffers = [];
        private int _end;
        private long _appended;
        private long _consumed;
        private long _examined;

        // Of a read that waits.
        private (Task<ReadResult> Ours, Task<ReadResult> Theirs, CancellationTokenSource Stop)? _waiting;

        public Pair(bool inline)
        {
            _stream = StreamPipes.Make(inline);
            _buffers.Add(ReadBuffer.Rent(ReadBuffer.DefaultSize));
        }

        public void Do(Step step)
        {
            switch (step.Does)
            {
                case Does.Append:
                    Append(step.Size, step.Adjacent);
                    break;
                case Does.Wake:
                    _stream.Input.Wake();
                    Settle(step);
                    break;
                case Does.Read when _waiting is null:
                    Read(step);
                    break;
                case Does.TryRead when _waiting is null:
                    var any = _stream.Input.TryRead(out var ours);
                    Assert.Equal(_pipe.Reader.TryRead(out var theirs), any);
                    if (any)
                    {
                        Take(ours, theirs, step);
                    }

                    break;
                case Does.CancelPendingRead:
                    _stream.Input.CancelPendingRead();
                    _pipe.Reader.CancelPendingRead();
                    Settle(step);
                    break;
                case Does.CancelToken when _waiting is { } waiting && !waiting.Theirs.IsCompleted:
                    waiting.Stop.Cancel();
                    Assert.True(StreamPipes.Ends(waiting.Ours) && StreamPipes.Ends(waiting.Theirs));
                    Assert.True(waiting.Ours.IsCanceled && !waiting.Theirs.IsCompletedSuccessfully);
                    _waiting = null;
                    break;
                default:
                    break;
            }
        }

        /// <summary>The end, and everything to it.</summary>
        public void Finish()
        {
            _stream.Input.Wake();
            var all = new Step(Does.Read, 0, false, 100, 100);
            Settle(all);
            _stream.Input.End(null);
            _pipe.Writer.Complete();
            Settle(all);
            for (var reads = 0; reads < 3; reads++)
            {
                Read(all);
            }

            Assert.Equal(_appended, _consumed);
            Assert.All(_buffers, buffer => Assert.False(buffer.IsShared));
        }

        /// <summary>A failure: what was not looked at is still there before it.</summary>
        public void Fail()
        {
            var failure = new HboneException(HboneError.Reset, "reset");
            _stream.Input.Wake();
            Settle(new Step(Does.Read, 0, false, 100, 100));
            _stream.Input.End(failure);
            _stream.Input.End(null);
            if (_waiting is { } waiting)
            {
                Assert.True(StreamPipes.Ends(waiting.Ours));
                Assert.Same(failure, waiting.Ours.Exception!.InnerException);
                return;
            }

            for (var reads = 0; reads < 3; reads++)
            {
                try
                {
                    Assert.True(_stream.Input.TryRead(out var result));
                    Assert.False(result.IsCompleted);
                    _examined = _appended;
                    _stream.Input.AdvanceTo(result.Buffer.Start, result.Buffer.End);
                }
                catch (HboneException e)
                {
                    Assert.Same(failure, e);
                    Assert.Equal(_appended, _examined);
                    return;
                }
            }

            Assert.Fail("the failure never comes");
        }

        public void Dispose()
        {
            _stream.Release();
            foreach (var buffer in _buffers)
            {
                Assert.False(buffer.IsShared);
                buffer.Release();
            }

        }

        private void Append(int size, bool adjacent)
        {
            _end += adjacent ? 0 : 1;
            if (_buffers[^1].Array.Length - _end < size)
            {
                _buffers.Add(ReadBuffer.Rent(ReadBuffer.DefaultSize));
                _end = 0;
            }

            var octets = _buffers[^1].Array.AsMemory(_end, size);
            StreamPipes.Fill(octets.Span, _appended);
            Assert.True(_stream.Input.TryAppend(_buffers[^1], octets));
            var copy = octets.ToArray();
            _pipe.Writer.Write(copy);
            _end += size;
            _appended += size;

            // Until the wake neither tells.
            _stream.Input.Wake();
            Assert.True(_pipe.Writer.FlushAsync().AsTask().IsCompletedSuccessfully);
            Settle(new Step(Does.Read, 0, false, 0, 100));
        }

        private void Read(Step step)
        {
            var stop = new CancellationTokenSource();
            var ours = _stream.Input.ReadAsync(stop.Token).AsTask();
            var theirs = _pipe.Reader.ReadAsync(stop.Token).AsTask();
            _waiting = (ours, theirs, stop);
            Settle(step);
        }

        private void Settle(Step step)
        {
            if (_waiting is not { } waiting)
            {
                return;
            }

            if (waiting.Theirs.IsCompleted)
            {
                Assert.True(StreamPipes.Ends(waiting.Ours), "a Pipe does not wait here");
            }

            Assert.Equal(waiting.Theirs.IsCompleted, waiting.Ours.IsCompleted);
            if (waiting.Ours.IsCompletedSuccessfully)
            {
                _waiting = null;
                Take(waiting.Ours.Result, waiting.Theirs.Result, step);
            }
        }

        private void Take(ReadResult ours, ReadResult theirs, Step step)
        {
            Assert.Equal((theirs.IsCanceled, theirs.IsCompleted, theirs.Buffer.Length), (ours.IsCanceled, ours.IsCompleted, ours.Buffer.Length));
            Assert.Equal(_appended - _consumed, ours.Buffer.Length);
            var at = _consumed;
            foreach (var segment in ours.Buffer)
            {
                StreamPipes.Check(segment.Span, at);
                at += segment.Length;
            }

            // A Pipe does not take it that less is examined than was before.
            var consumed = ours.Buffer.Length * step.Consumed / 100;
            var examined = Math.Max(consumed + ((ours.Buffer.Length - consumed) * step.Examined / 100), _examined - _consumed);
            _stream.Input.AdvanceTo(ours.Buffer.GetPosition(consumed), ours.Buffer.GetPosition(examined));
            _pipe.Reader.AdvanceTo(theirs.Buffer.GetPosition(consumed), theirs.Buffer.GetPosition(examined));
            _examined = _consumed + examined;
            _consumed += consumed;
        }
    }
}
