using System.Buffers;
using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

namespace Mesh.Ztunnel.Dns;

/// <summary>What is asked of an upstream server. Equal ones get equal answers.</summary>
/// <param name="Question">The client's question, its case kept.</param>
/// <param name="RecursionDesired">RD.</param>
/// <param name="AuthenticData">AD.</param>
/// <param name="CheckingDisabled">CD.</param>
/// <param name="DnssecOk">DO, where there is EDNS.</param>
/// <param name="MaxLength">Octets that are taken: as many as go over UDP in one piece, or all. Not each client's own number, for as many different requests could be under way at once, each a guess for a forger (RFC 5452 section 5).</param>
/// <param name="HasEdns">Whether the client speaks EDNS.</param>
internal readonly record struct DnsUpstreamRequest(
    DnsQuestion Question, bool RecursionDesired, bool AuthenticData, bool CheckingDisabled, bool DnssecOk, int MaxLength, bool HasEdns)
{
    // The least MTU of IPv6 without its header and UDP's. An answer that travels in one piece cannot have its second piece forged (RFC 9715).
    private const ushort MaxUnfragmentedLength = 1232;

    public static DnsUpstreamRequest Of(DnsRequest.Query query, DnsProtocol protocol) => new(
        query.Question,
        query.RecursionDesired,
        query.AuthenticData,
        query.CheckingDisabled,
        query.Edns is { DnssecOk: true },
        protocol is DnsProtocol.Tcp || DnsResponse.UdpLimit(query.Edns) > MaxUnfragmentedLength ? DnsResponse.MaxTcpLength
            : query.Edns is null ? DnsResponse.MinUdpLength : MaxUnfragmentedLength,
        query.Edns is not null);

    /// <summary>Octets that we take over UDP.</summary>
    public int UdpLength => HasEdns ? Math.Min(MaxLength, MaxUnfragmentedLength) : DnsResponse.MinUdpLength;

    /// <summary>The question with an id of ours. Only what we understand ourselves is passed on: EDNS is between neighbours (RFC 6891 section 6.1.1).</summary>
    public DnsRequest.Query WithId(ushort id) => new(
        id, Question, RecursionDesired, AuthenticData, CheckingDisabled, HasEdns ? new DnsEdns((ushort)UdpLength, 0, DnssecOk) : null);
}

/// <summary>Asks one upstream server one question: over UDP from a socket of its own, then over TCP when the answer is truncated and the client takes more.</summary>
internal sealed class DnsUpstream(DnsContext context)
{
    // Messages on our socket that answer something else. More of them than a few is somebody who guesses; with TCP there is no guessing (RFC 5452 section 9.3).
    private const int MaxForeignMessages = 16;
    private const int BufferLength = 4096;

    /// <summary>Asks.</summary>
    /// <exception cref="IOException">The server cannot be reached, or answers what cannot be read.</exception>
    /// <exception cref="SocketException">As above.</exception>
    public async Task<DnsAnswer> AskAsync(IPEndPoint server, DnsUpstreamRequest request, CancellationToken cancellationToken)
    {
        var answer = await AskOverUdpAsync(server, request, cancellationToken);
        return answer is null || (answer.Truncated && request.MaxLength > request.UdpLength)
            ? await AskOverTcpAsync(server, request, cancellationToken)
            : answer;
    }

    // Null when somebody tries to answer in the server's place.
    private async Task<DnsAnswer?> AskOverUdpAsync(IPEndPoint server, DnsUpstreamRequest request, CancellationToken cancellationToken)
    {
        using var socket = context.OpenUdp(new IPEndPoint(server.AddressFamily is AddressFamily.InterNetwork ? IPAddress.Any : IPAddress.IPv6Any, 0));

        // From now on the system drops what comes from elsewhere.
        await socket.ConnectAsync(server, cancellationToken);
        var id = NextId();
        await socket.SendAsync(DnsResponse.Write(request.WithId(id)), cancellationToken);
        var buffer = ArrayPool<byte>.Shared.Rent(BufferLength);
        try
        {
            for (var foreign = 0; foreign < MaxForeignMessages; foreign++)
            {
                var length = await socket.ReceiveAsync(buffer, cancellationToken);
                switch (DnsReply.Read(buffer.AsSpan(0, length), id, request.Question, out var answer))
                {
                    case DnsReplyKind.Answer:
                        return answer;
                    case DnsReplyKind.Malformed:
                        throw new IOException("the answer cannot be read");
                }
            }

            return null;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private async Task<DnsAnswer> AskOverTcpAsync(IPEndPoint server, DnsUpstreamRequest request, CancellationToken cancellationToken)
    {
        await using var connection = await context.Transport.ConnectAsync(server, source: null, cancellationToken);
        var id = NextId();
        await DnsStream.WriteMessageAsync(connection.Stream, DnsResponse.Write(request.WithId(id)), cancellationToken);
        var message = await DnsStream.ReadMessageAsync(connection.Stream, DnsResponse.MaxTcpLength, cancellationToken)
            ?? throw new IOException("the connection ends without an answer");
        return DnsReply.Read(message, id, request.Question, out var answer) is DnsReplyKind.Answer
            ? answer
            : throw new IOException("the answer cannot be read, or is to another question");
    }

    private ushort NextId()
    {
        Span<byte> id = stackalloc byte[sizeof(ushort)];
        context.Ids.GetBytes(id);
        return BinaryPrimitives.ReadUInt16BigEndian(id);
    }
}
