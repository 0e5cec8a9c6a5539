using System.Collections.Immutable;
using FsCheck;
using FsCheck.Fluent;
using Mesh.Testing;

namespace Mesh.Ztunnel.Dns;

public sealed class DnsMessageProperties
{
    private static readonly Gen<DnsName> Names =
        from labels in Gen.Elements("a", "b", "Cart", "shop", "svc", "cluster", "local", "*", new string('x', 63)).ArrayOf()
        select labels.Length == 0 || string.Join('.', labels).Length > 253 ? DnsName.Root : DnsText.Name(string.Join('.', labels));

    private static readonly Gen<byte[]> Octets = Gen.Choose(0, 255).Select(octet => (byte)octet).ArrayOf();

    private static readonly Gen<DnsRecord> Records =
        from name in Names
        from type in Gen.Elements(DnsRecordType.A, DnsRecordType.Cname, DnsRecordType.Soa, DnsRecordType.Mx, DnsRecordType.Srv, DnsRecordType.Txt, (DnsRecordType)65280)
        from timeToLive in Gen.Choose(0, int.MaxValue)
        from octets in Octets
        from first in Names
        from second in Names
        select new DnsRecord(name, type, DnsQuestion.Internet, (uint)timeToLive, Data(type, octets, first, second));

    private static readonly Gen<ImmutableArray<DnsRecord>> Sections = Records.ArrayOf().Select(records => records.ToImmutableArray());

    private static readonly Gen<DnsAnswer> Answers =
        from code in Gen.Choose(0, 15)
        from answers in Sections
        from authority in Sections
        from additional in Sections
        select new DnsAnswer((DnsResponseCode)code) { Answers = answers, Authority = authority, Additional = additional };

    private static readonly Gen<DnsRequest.Query> Queries =
        from id in Gen.Choose(0, 65535)
        from name in Names
        from type in Gen.Choose(0, 65535)
        from flags in Gen.Choose(0, 7)
        from payload in Gen.Choose(512, 65535)
        from hasEdns in Gen.Elements(true, false)
        select new DnsRequest.Query(
            (ushort)id,
            new DnsQuestion(name, (DnsRecordType)type, DnsQuestion.Internet),
            (flags & 1) != 0,
            (flags & 2) != 0,
            (flags & 4) != 0,
            hasEdns ? new DnsEdns((ushort)payload, 0, (flags & 1) != 0) : null);

    [Fact]
    public void A_question_that_is_written_reads_as_the_same() => Check.One(
        Config.QuickThrowOnFailure.WithMaxTest(300),
        Prop.ForAll(Queries.ToArbitrary(), query => Assert.Equal(query, DnsRequest.Read(DnsResponse.Write(query)))));

    [Fact]
    public void An_answer_that_is_written_reads_as_the_same() => Check.One(
        Config.QuickThrowOnFailure.WithMaxTest(300).WithEndSize(30),
        Prop.ForAll(Queries.ToArbitrary(), Answers.ToArbitrary(), (query, answer) =>
        {
            var message = DnsResponse.Write(query, answer, DnsResponse.MaxTcpLength);
            Assert.Equal(DnsReplyKind.Answer, DnsReply.Read(message, query.Id, query.Question, out var read));
            Assert.Equal((answer.Code, false), (read.Code, read.Truncated));
            Assert.Equal(Show(answer.Answers), Show(read.Answers));
            Assert.Equal(Show(answer.Authority), Show(read.Authority));
            Assert.Equal(Show(answer.Additional), Show(read.Additional));
        }));

    [Fact]
    public void An_answer_is_never_longer_than_it_may_be_and_what_is_in_it_can_be_read() => Check.One(
        Config.QuickThrowOnFailure.WithMaxTest(300).WithEndSize(60),
        Prop.ForAll(Queries.ToArbitrary(), Answers.ToArbitrary(), Gen.Choose(512, 4096).ToArbitrary(), (query, answer, limit) =>
        {
            var message = DnsResponse.Write(query, answer, limit);
            Assert.InRange(message.Length, DnsHeader.Length, limit);
            Assert.Equal(DnsReplyKind.Answer, DnsReply.Read(message, query.Id, query.Question, out var read));
            Assert.Equal(Show(answer.Answers).Take(read.Answers.Length), Show(read.Answers));
            Assert.Equal(read.Answers.Length + read.Authority.Length < answer.Answers.Length + answer.Authority.Length, read.Truncated);
        }));

    [Fact]
    public void Octets_at_random_are_read_or_refused_and_never_throw()
    {
        var random = new Random(Fuzz.Seed(20260914));
        for (var round = 0; round < Fuzz.Rounds(50_000); round++)
        {
            var message = new byte[random.Next(600)];
            random.NextBytes(message);
            ReadAsEverything(message);
        }
    }

    [Fact]
    public void Messages_with_octets_changed_are_read_or_refused_and_never_throw()
    {
        var random = new Random(Fuzz.Seed(20260915));
        var samples = Gen.Sample(from query in Queries from answer in Answers select (query, answer), 20, 100).ToArray();
        for (var round = 0; round < Fuzz.Rounds(20_000); round++)
        {
            var (query, answer) = samples[random.Next(samples.Length)];
            var message = random.Next(2) == 0 ? DnsResponse.Write(query) : DnsResponse.Write(query, answer, DnsResponse.MaxTcpLength);
            for (var changes = random.Next(1, 6); changes > 0; changes--)
            {
                // Mostly to what means something: a pointer, the length of a label, the end of a name.
                message[random.Next(message.Length)] = random.Next(4) switch { 0 => 0xC0, 1 => 0, 2 => (byte)random.Next(64), _ => (byte)random.Next(256) };
            }

            ReadAsEverything(message[..random.Next(message.Length + 1)]);
        }
    }

    // What was read is written again, so that nothing gets in that cannot get out.
    private static void ReadAsEverything(byte[] message)
    {
        if (DnsRequest.Read(message) is DnsRequest.Query query)
        {
            Assert.IsType<DnsRequest.Query>(DnsRequest.Read(DnsResponse.Write(query)));
        }

        var reader = new DnsReader(message, DnsHeader.Length);
        if (DnsHeader.TryRead(message, out var header) && reader.TryReadQuestion(out var question)
            && DnsReply.Read(message, header.Id, question, out var answer) is DnsReplyKind.Answer)
        {
            var asked = new DnsRequest.Query(header.Id, question, true, false, false, null);
            var written = DnsResponse.Write(asked, answer, DnsResponse.MaxTcpLength);
            Assert.Equal(DnsReplyKind.Answer, DnsReply.Read(written, header.Id, question, out _));
        }
    }

    private static byte[] Data(DnsRecordType type, byte[] octets, DnsName first, DnsName second) => type switch
    {
        DnsRecordType.Cname => first.Wire.ToArray(),
        DnsRecordType.Soa => [.. first.Wire, .. second.Wire, .. new byte[20]],
        DnsRecordType.Mx => [0, 10, .. first.Wire],
        DnsRecordType.Srv => [0, 1, 0, 2, 0, 3, .. first.Wire],
        _ => octets,
    };

    private static IEnumerable<string> Show(ImmutableArray<DnsRecord> records) =>
        records.Select(record => $"{record.Name} {record.Type} {record.Class} {record.TimeToLive} {Convert.ToHexString(record.Data.Span)}");
}
